"""What an agent keeps of what a user says: statements, not questions, requests or small talk; each fact once.

It is decided without a language model. Where the memory's key is multilingual-e5-small, two linear functions of its
vectors tell statements, and statements that something has changed, in any of its languages (`benchmarks/statements.py`
fits them and prints how well they do); with other keys only question marks and short sentences are told.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

import comem_memory
from comem_memory.chat import content_of
from comem_memory.memory import ContinuousMemory
from comem_memory.model import Message
from comem_memory.retrieval import ALL
from comem_memory.sentences import sentences
from comem_memory.store import Filter
from comem_memory.types import CHAT_PREFIX, MemoryItem

_FILE = Path(comem_memory.__file__).parent / "data" / "statements.safetensors"

BY = CHAT_PREFIX + "by"
"""Note on an item: the name of the adapter that remembered it, which alone may replace it."""

_ENDS = " \n\t.!\u2026\u3002\uff01"
"""Taken off before the functions are asked: an exclamation mark makes no small talk."""
FEWEST_WORDS = 3
"""Of a statement, where the key cannot tell: fewer words greet, thank or agree."""
NEAR = 5
"""Stored items that a new one is compared with."""
SAME_FRAME, SAME_THING = 0.65, 0.4
"""A correction takes the place of an item that shares this share of its words with it, in order, and whose vector has
this cosine with its own. Of 112 corrections in 11 languages, 85 then found theirs, and none hid another fact."""

_TOLD_TO = re.compile(
    r"^\W*(?:\w+,? )?(?:remember|note|keep in mind|do not forget|don't forget|merke? dir|notiere?|denk daran|"
    r"vergiss nicht|recuerda|acuérdate|anota|no olvides|souviens-toi|rappelle-toi|n'oublie pas|ricorda|ricordati|"
    r"annota|lembre|lembra|anote|não esqueça|onthoud|noteer|zapamiętaj|zanotuj|запомни|запиши|تذكر)\b"
    r"|^\W*(?:请|請)?(?:记住|記住|记下|記下)|(?:unutma|覚えて\w*|기억해\s?\w*|याद रख\w*)\W*$",
    re.IGNORECASE,
)
"""Who says so is always remembered."""
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+(?:[.:'-][^\W\u3040-\u30ff\u3400-\u9fff]+)*"
)
"""Chinese and Japanese are compared by characters."""


def stated(text: str, memory: ContinuousMemory) -> str:
    """The sentences of a text that state something, or are told to be remembered; empty if none does.

    Args:
        text: What somebody said.
        memory: Whose key tells statements.

    Examples:
        >>> stated("I moved to Bremen. What is the weather there?", memory)                    # doctest: +SKIP
        'I moved to Bremen.'
    """
    said = sentences(text)
    told_to = [bool(_TOLD_TO.search(one)) for one in said]
    open = [one for one, told in zip(said, told_to, strict=True) if not told and not _asks(one)]
    states = dict(zip(open, _states(open, memory), strict=True))
    kept = (one for one, told in zip(said, told_to, strict=True) if (told and not _asks(one)) or states.get(one))
    return "".join(kept).strip()


def statement(turn: Message, memory: ContinuousMemory) -> MemoryItem | None:
    """A turn of the user as far as it states something, with its picture, if there is one.

    A picture without words is kept; one about which something is only asked is not.
    """
    text, picture = content_of(turn)
    kept = stated(text, memory) if text else ""
    picture = picture if memory.keeps_pictures else None
    return MemoryItem(text=kept or None, image=picture) if kept or (picture is not None and not text) else None


def kept_of(turn: Message, memory: ContinuousMemory, *, where: Filter | None = None) -> list[MemoryItem]:
    """What is kept of a turn of the user: what it states, as it is to be stored (`in_place`); nothing, or one item."""
    item = statement(turn, memory)
    return [] if item is None else [in_place(memory, item, where=where)]


def as_items(kept: MemoryItem | Sequence[MemoryItem] | None) -> list[MemoryItem]:
    """What a function of the user's kept: an item, several, or none."""
    return [kept] if isinstance(kept, MemoryItem) else list(kept or ())


def in_place(memory: ContinuousMemory, item: MemoryItem, *, where: Filter | None = None) -> MemoryItem:
    """The item as it is to be stored: as the one that says the same already, or in the place of an older one.

    The same words again are the stored item again. An item takes the place of one all of whose words it has in the
    same order, and, where it says that something has changed, of the nearest that says the same of another value.

    Args:
        memory: Where it will be stored.
        item: What was said; anything but a text stays as it is.
        where: A filter on the metadata of the items that it may take the place of.
    """
    if not item.text or item.image is not None or item.id is not None or memory.info.text_embedder is None:
        return item
    mine = _words(item.text)
    near = [
        (hit.id, hit.text)
        for hit in memory.search(item.text, k=NEAR, where=where, min_similarity=ALL)
        if hit.text and not hit.image and hit.text != item.text
    ]
    if said := [text for _, text in near if _words(text) == mine]:
        return item.model_copy(update={"text": said[0]})
    outdated = [id for id, text in near if _common(_words(text), mine) == len(_words(text))]
    if not outdated and (corrected := _corrected(item.text, near, memory)):
        outdated = [corrected]
    return item.model_copy(update={"supersedes": outdated}) if outdated else item


def _corrected(text: str, near: Sequence[tuple[str, str]], memory: ContinuousMemory) -> str | None:
    """The id of the item that says the same of another value, if the text says that something has changed."""
    functions = _functions(memory)
    if functions is None or not near or not _above(functions["change"], memory.embed([text], questions=True))[0]:
        return None
    mine = _words(text)
    same_frame = [(id, old) for id, old in near if _has_frame(_words(old), mine)]
    if not same_frame:
        return None
    new, *olds = memory.embed([text, *(old for _, old in same_frame)])
    alike, id = max((float(new @ old), id) for old, (id, _) in zip(olds, same_frame, strict=True))
    return id if alike >= SAME_THING else None


def _has_frame(old: Sequence[str], new: Sequence[str]) -> bool:
    return bool(old) and old[0] in new and _common(old, new) >= SAME_FRAME * len(old)


# -- sentences --------------------------------------------------------------------------------------------------


def _asks(sentence: str) -> bool:
    """Whether it has a question mark of any script; the semicolon is that of Greek."""
    for at, character in enumerate(sentence):
        following = sentence[at + 1 : at + 2]
        if character == "?" and (following.isalnum() or following in ("=", "&", "/")):  # of an address
            continue
        if character == "\u037e" or "QUESTION" in unicodedata.name(character, ""):
            return True
    return re.search(r"[\u0370-\u03ff];\W*$", sentence) is not None


def _states(sentences: Sequence[str], memory: ContinuousMemory) -> list[bool]:
    functions = _functions(memory) if sentences else None
    if functions is None:
        return [len(_words(one)) >= FEWEST_WORDS for one in sentences]
    asked = [one.strip(_ENDS) or one for one in sentences]
    return _above(functions["statement"], memory.embed(asked, questions=True))


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _common(old: Sequence[str], new: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(new) + 1)
    for one in old:
        before = 0
        for at, other in enumerate(new, 1):
            before, row[at] = row[at], before + 1 if one == other else max(row[at], row[at - 1])
    return row[-1]


# -- linear functions of the key's vectors ----------------------------------------------------------------------


@cache
def _fitted() -> tuple[str, dict[str, np.ndarray]]:
    """The name of the embedder, and for each function of its vectors of questions the weights with the constant behind
    them."""
    with safe_open(_FILE, "numpy") as file:
        return file.metadata()["embedder"], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _functions(memory: ContinuousMemory) -> dict[str, np.ndarray] | None:
    name, functions = _fitted()
    return functions if memory.info.text_embedder == name else None


def _above(function: np.ndarray, vectors: Any) -> list[bool]:
    return [bool(one @ function[:-1] + function[-1] > 0) for one in vectors]
