"""`comem synthesize`: drafts become a corpus folder; only what is answered rightly is kept.

The paper's recipe (arXiv 2505.17670, section 3) is self-synthesis: the frozen model answers from plain
retrieval-augmented prompts, and its right answers are what a memory encoder learns to bring about.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from comem_memory.content import Audio, as_json, map_files, with_texts
from comem_memory.errors import CorpusError
from comem_memory.files import (
    MODEL_PIXELS,
    at_most,
    atomic_write,
    audio_suffix,
    image_digest,
    keep_picture,
    load_image,
    open_work,
    read_audio,
    refuse_existing,
)
from comem_memory.model import TEXT_PROMPTS, Backbone, PromptItem, retrieval_content
from comem_memory.progress import progress_bar
from comem_memory.synthesis.corpus import Answers, CorpusItem, CorpusSample
from comem_memory.synthesis.drafts import Draft, DraftItem, Drafts, Reader
from comem_memory.synthesis.splits import SPLITS, Split

HELD_OUT = 20
"""Development and test have one sample each to so many of training."""
PATIENCE = 20
"""Groups without one right answer after which the model is given up."""
MAX_NEW_TOKENS = 48
"""Longer answers are no targets: the model has not come to an end."""
BATCH = 8
"""Prompts per `generate`."""


def frozen_reader(backbone: Backbone) -> Reader:
    """The frozen model, asked with items in the prompt. What does not fit its window it does not answer.

    Raises, when asked:
        CorpusError: about a picture, and the model takes none.
    """

    def read(asked: Sequence[tuple[str, Sequence[DraftItem]]]) -> list[str | None]:
        if not backbone.prompts.supports_images and any(item.image is not None for _, items in asked for item in items):
            raise CorpusError(
                f"{backbone.name} takes no pictures. Pass --no-pictures or items without them, or another model."
            )
        prompts = []
        for question, items in asked:
            shown = [PromptItem(with_texts(item.text, item.content or ()), item.image) for item in items]
            content = retrieval_content(
                question, shown, supports_images=backbone.prompts.supports_images, template=TEXT_PROMPTS["plain"]
            )
            prompts.append(backbone.prompt([{"role": "user", "content": content}]))
        lengths = [backbone.prompt_length(prompt, None) for prompt in prompts]
        fitting = [n for n, length in enumerate(lengths) if length + MAX_NEW_TOKENS <= backbone.max_length]
        said: list[str | None] = [None] * len(prompts)
        ordered = sorted(fitting, key=lambda n: lengths[n])
        for start in range(0, len(ordered), BATCH):
            batch = ordered[start : start + BATCH]
            made = backbone.generate([prompts[n] for n in batch], max_new_tokens=MAX_NEW_TOKENS)
            for n, tokens in zip(batch, made, strict=True):
                said[n] = backbone.decode(tokens) if len(tokens) < MAX_NEW_TOKENS else None
        return said

    return read


def synthesize(
    out: Path, drafts: Drafts, *, samples: int, answers: Answers, read: Reader, **settings: object
) -> dict[Split, int]:
    """Writes a corpus folder, whole or not at all; run it again with the same arguments to resume.

    Args:
        out: A new folder.
        drafts: What is asked.
        samples: Training samples; fewer where the drafts end. Development and test get a twentieth as many each.
        answers: What is to be learnt, the model's own right answers or the known ones.
        read: The frozen model.
        settings: What else the drafts depend on, by the names of the command's options.

    Returns:
        How many samples each split has.

    Raises:
        CorpusError: `out` exists, or holds interrupted work with other settings; no answer is right; a split is empty.
    """
    refuse_existing(out, CorpusError)
    work = open_work(out, "synthesizing", [], CorpusError, answers=answers, **settings)
    corpus = work / "corpus"
    (corpus / "images").mkdir(parents=True, exist_ok=True)
    wanted = {split: samples if split == "train" else max(1, samples // HELD_OUT) for split in SPLITS}
    counts: dict[Split, int] = {}
    with progress_bar("synthesizing", total=sum(wanted.values()), unit="sample") as bar:
        for split in reversed(SPLITS):  # the small ones first: what cannot be made fails soon
            parts, kept = list[Path](), 0
            for number in itertools.count():
                part = work / f"{split}-{number:06d}.jsonl"
                if not part.is_file():
                    group = drafts.of_group(split, number)
                    if group is None:
                        break
                    lines = [
                        _sample(draft, f"{split}-{number}-{n}", number, corpus).model_dump_json() + "\n"
                        for n, draft in enumerate(_right(group, answers, read))
                    ]
                    atomic_write(part, "".join(lines))
                parts.append(part)
                found = min(len(part.read_text(encoding="utf-8").splitlines()), wanted[split] - kept)
                kept += found
                bar.update(found)
                if kept == wanted[split]:
                    break
                if kept == 0 and len(parts) == PATIENCE:
                    break
            if kept == 0:
                raise CorpusError(
                    f"Of {len(parts)} groups of {split} no question was answered rightly. Let another model answer, "
                    "or take known answers with --answers known. Another --seed splits few own items otherwise."
                )
            lines = "".join(part.read_text(encoding="utf-8") for part in parts).splitlines(keepends=True)
            atomic_write(corpus / f"{split}.jsonl", "".join(lines[: wanted[split]]))
            counts[split] = kept
    counts = {split: counts[split] for split in SPLITS}
    (corpus / "README.md").write_text(_card(counts, {"answers": answers, **settings}), encoding="utf-8")
    corpus.replace(out)
    shutil.rmtree(work)
    return counts


def _right(drafts: Sequence[Draft], answers: Answers, read: Reader) -> list[Draft]:
    """What is kept: rightly answered by the model if it is to learn from itself, or wrote the question."""
    if answers == "known" and not any(draft.written for draft in drafts):
        return list(drafts)
    said = read([(draft.question, draft.items) for draft in drafts])
    bare = iter(read([(draft.question, []) for draft in drafts if draft.written]))
    kept = []
    for draft, answer in zip(drafts, said, strict=True):
        known_without = draft.written and draft.answered_by(next(bare))
        if draft.answered_by(answer) and not known_without:
            kept.append(replace(draft, answer=str(answer)) if answers == "self" else draft)
        elif answers == "known" and not draft.written:
            kept.append(draft)
    return kept


def _sample(draft: Draft, id: str, group: int, corpus: Path) -> CorpusSample:
    return CorpusSample(
        id=id,
        group=group,
        kind=draft.kind,
        language=draft.language,
        question=draft.question,
        answer=draft.answer,
        right=list(draft.right),
        items=[_item(one, corpus) for one in draft.items],
        gold=list(draft.gold),
    )


def _item(item: DraftItem, corpus: Path) -> CorpusItem:
    content = None
    if item.content is not None:
        content = [as_json(one) for one in map_files(item.content, lambda one: _kept_part(one, corpus))]
    return CorpusItem(id=item.id, text=item.text, image=_kept(item.image, corpus), content=content)


def _kept_part(part: Any, corpus: Path) -> Path | Audio:
    """A picture or recording as a file of the corpus."""
    if not isinstance(part, Audio):
        return Path(str(_kept(part, corpus)))
    data = read_audio(part).data
    path = corpus / "audio" / f"{hashlib.sha256(data).hexdigest()[:24]}{audio_suffix(data)}"
    if not path.is_file():
        atomic_write(path, data)
    return Audio(path.relative_to(corpus))


def _kept(image: Any, corpus: Path) -> str | None:
    """The picture as a file of the corpus, no larger than models see it, and once however many samples do."""
    if image is None:
        return None
    opened = at_most(load_image(image), MODEL_PIXELS)
    path = corpus / "images" / f"{image_digest(opened).hex()[:24]}.png"
    if not path.is_file():
        keep_picture(opened, path)
    return path.relative_to(corpus).as_posix()


def _card(counts: dict[Split, int], settings: dict[str, object]) -> str:
    """README with the metadata by which `datasets` finds the files and knows their columns."""
    texts = "".join(f"  - {{name: {name}, dtype: string}}\n" for name in ("kind", "language", "question", "answer"))
    data = "".join(f"  - {{split: {split}, path: {split}.jsonl}}\n" for split in counts)
    rows = "\n".join(f"| {split} | {count} |" for split, count in counts.items())
    return f"""---
configs:
- config_name: default
  data_files:
{data}dataset_info:
  features:
  - {{name: id, dtype: string}}
  - {{name: group, dtype: int64}}
{texts}  - {{name: right, list: string}}
  - name: items
    list:
    - {{name: id, dtype: string}}
    - {{name: text, dtype: string}}
    - {{name: image, dtype: string}}
    - name: content
      list:
      - {{name: type, dtype: string}}
      - {{name: text, dtype: string}}
      - {{name: image, dtype: string}}
  - {{name: gold, list: int64}}
---

# Questions about items, to train a memory encoder on

Made by `comem synthesize` of comem-memory with {json.dumps(settings)}.

| split | samples |
|---|---|
{rows}

A sample is a question, the items given with it (`image` is a path in this folder,
`content` the parts of an item of several), the positions of those it is about
(`gold`), and the answer to be learnt. No made-up name, value or pattern stands in two
splits; own items are divided item by item.

```python
from datasets import load_dataset

corpus = load_dataset("FOLDER")  # this one
```

Emoji among the pictures are Noto Emoji (Apache-2.0) and Twemoji (CC-BY 4.0).
"""
