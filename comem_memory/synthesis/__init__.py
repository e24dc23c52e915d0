"""Items and questions to train and test with: made-up ones, real countries, corpora."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comem_memory.lazy import lazily

if TYPE_CHECKING:
    from comem_memory.synthesis.corpus import Answers, CorpusItem, CorpusSample, read_corpus
    from comem_memory.synthesis.corpus_writer import frozen_reader, synthesize
    from comem_memory.synthesis.drafts import Draft, DraftItem, WorldDrafts, mixtures
    from comem_memory.synthesis.emoji import emoji_of_splits
    from comem_memory.synthesis.groups import Group, Mixture, group
    from comem_memory.synthesis.note_drafts import NoteDrafts
    from comem_memory.synthesis.notes import Note, NoteMixture, NoteQuestion, note
    from comem_memory.synthesis.own_items import OwnDrafts

_HOME = {
    "Answers": "corpus",
    "CorpusItem": "corpus",
    "CorpusSample": "corpus",
    "Draft": "drafts",
    "DraftItem": "drafts",
    "Group": "groups",
    "Mixture": "groups",
    "Note": "notes",
    "NoteDrafts": "note_drafts",
    "NoteMixture": "notes",
    "NoteQuestion": "notes",
    "OwnDrafts": "own_items",
    "WorldDrafts": "drafts",
    "emoji_of_splits": "emoji",
    "frozen_reader": "corpus_writer",
    "group": "groups",
    "mixtures": "drafts",
    "note": "notes",
    "read_corpus": "corpus",
    "synthesize": "corpus_writer",
}

__all__ = [
    "Answers",
    "CorpusItem",
    "CorpusSample",
    "Draft",
    "DraftItem",
    "Group",
    "Mixture",
    "Note",
    "NoteDrafts",
    "NoteMixture",
    "NoteQuestion",
    "OwnDrafts",
    "WorldDrafts",
    "emoji_of_splits",
    "frozen_reader",
    "group",
    "mixtures",
    "note",
    "read_corpus",
    "synthesize",
]


__getattr__ = lazily(__name__, _HOME)  # made-up items need Faker, which is optional, and a corpus does not
