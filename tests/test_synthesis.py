"""Corpora: disjoint splits, groups that hold what is asked, synthesis that resumes, and training on the result."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.saved import save_tiny
from helpers.splits import overlap
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("faker", reason="training needs the `train` extra")

from comem_memory.cli import app as cli
from comem_memory.encoder import MemoryEncoder
from comem_memory.errors import CorpusError, ItemTooLongError
from comem_memory.evaluation.question_sets import LANGUAGES, MADE_UP, question_set
from comem_memory.files import MODEL_PIXELS
from comem_memory.metrics import contains, normalise
from comem_memory.model import TEXT_PROMPTS, ModelInputs, PromptItem, retrieval_content
from comem_memory.synthesis import phrases
from comem_memory.synthesis.agent_topics import AGENT_TOPICS
from comem_memory.synthesis.corpus import read_corpus
from comem_memory.synthesis.corpus_writer import MAX_NEW_TOKENS, frozen_reader, synthesize
from comem_memory.synthesis.drafts import Draft, DraftItem, WorldDrafts, mixtures
from comem_memory.synthesis.emoji import Picture
from comem_memory.synthesis.groups import ITEMS, TASKS, Group, Mixture, group
from comem_memory.synthesis.languages import TRANSLATED
from comem_memory.synthesis.own_items import OwnDrafts
from comem_memory.synthesis.scenes import SIDE, Scene
from comem_memory.synthesis.splits import SHARED, SPLITS, Split, patterns_of
from comem_memory.synthesis.topics import TOPICS
from comem_memory.testing import tiny_backbone, tiny_key, tiny_picture
from comem_memory.training import train
from comem_memory.training.corpus_batches import CorpusBatches
from comem_memory.training.memory_trainer import MemoryTrainer
from comem_memory.training.trainer import training_arguments

GROUPS = 40


@pytest.fixture(scope="module")
def groups() -> dict[Split, list[Group]]:
    return {split: [group(1, split, number, Mixture()) for number in range(GROUPS)] for split in SPLITS}


# -- what is drawn -----------------------------------------------------------------------------------------------


def test_the_items_of_published_results_are_what_they_were():
    digest = sha256()
    for number in range(100):
        digest.update(str(group(0, "test", number, Mixture())).encode())
    assert digest.hexdigest()[:24] == "ee7e60601b2cae54d9b2077f"


def test_names_and_values_are_disjoint(groups: dict[Split, list[Group]]):
    names = {split: {item.name for drawn in groups[split] for item in drawn.items} for split in SPLITS}
    assert not overlap(names)
    values = {
        split: {
            (fact.kind, fact.value)
            for drawn in groups[split]
            for item in drawn.items
            for fact in item.facts
            if fact.kind not in SHARED
        }
        for split in SPLITS
    }
    assert not overlap(values)
    numbers = {
        split: {re.sub(r"\D", "", value) for _, value in values[split] if re.search(r"\d", value)} for split in SPLITS
    }
    assert not overlap(numbers)
    shapes = {
        split: {
            str(shape)
            for drawn in groups[split]
            for item in drawn.items
            if isinstance(item.image, Scene)
            for shape in (item.image.first, item.image.second)
        }
        for split in SPLITS
    }
    assert not overlap(shapes)


def test_patterns_are_disjoint_and_enough():
    general = [value for name, value in vars(phrases).items() if name.isupper()]
    attributes = [attribute for topic in TOPICS + AGENT_TOPICS for attribute in topic.attributes]
    translated = [said for one in TRANSLATED for said in one.phrases.values()]
    tables = [*general, *(said for one in [*attributes, *translated] for said in (one.sentences, one.questions))]
    assert len(tables) > 250
    of_split = {split: {p for patterns in tables for p in patterns_of(patterns, split)} for split in SPLITS}
    assert not overlap(of_split)
    for patterns in tables:
        assert len({*patterns}) == len(patterns) >= 4, patterns
    assert all("{v}" in said and "{n}" in said for one in [*attributes, *translated] for said in one.sentences)
    assert all("{n}" in asked for one in [*attributes, *translated] for asked in one.questions)


def test_items_hold_what_is_asked(groups: dict[Split, list[Group]]):
    kinds = Counter[str]()
    for drawn in itertools.chain.from_iterable(groups.values()):
        assert len({item.name.casefold() for item in drawn.items}) == len(drawn.items) == ITEMS
        for task in drawn.tasks:
            kinds[task.kind] += 1
            item = drawn.items[task.about]
            assert "{" not in item.text + task.question + task.answer
            assert any(contains(task.answer, right) for right in task.right), task
            assert not any(contains(task.answer, wrong) for wrong in task.wrong), task
            match task.kind:
                case "fact":
                    assert contains(item.text, task.right[0]), (item, task)
                    assert item.name.casefold() in task.question.casefold(), (item, task)
                case "which":
                    told = {fact.value for fact in item.facts if contains(task.question, fact.value)}
                    others = [o for o in drawn.items if o is not item and {f.value for f in o.facts} & told]
                    assert told and not others, task
                case "not in memory":
                    assert item.name.casefold() in task.question.casefold()
                    assert not any(contains(task.answer, fact.value) for fact in item.facts if len(fact.value) > 2)
                case "picture" | "text and picture":
                    assert item.image is not None
                    assert (
                        (item.name.casefold() in task.question.casefold())
                        == task.names_item
                        == (task.kind != "picture")
                    )
                case kind:
                    assert kind == "yes or no"
                    assert task.answer.startswith(task.right)
    assert kinds.keys() == {"fact", "which", "yes or no", "not in memory", "picture", "text and picture"}
    assert min(kinds.values()) > 100
    per_item = Counter(
        (number, split, task.about)
        for split in SPLITS
        for number, drawn in enumerate(groups[split])
        for task in drawn.tasks
    )
    assert max(per_item.values()) == TASKS
    assert Counter(per_item.values())[TASKS] > 0.95 * len(per_item)


def test_items_are_asked_about_in_their_own_and_in_other_languages(groups: dict[Split, list[Group]]):
    asked = defaultdict[str, Counter[str]](Counter)
    for drawn in itertools.chain.from_iterable(groups.values()):
        for task in drawn.tasks:
            asked[drawn.items[task.about].language][task.language] += 1
    for language in LANGUAGES:
        assert asked[language][language] > 20
        assert sum(asked[language].values()) - asked[language][language] > 20


def test_lengths_are_those_of_notes_and_paragraphs(groups: dict[Split, list[Group]]):
    texts = [item.text for drawn in groups["train"] for item in drawn.items if item.text]
    words = sorted(len(text.split()) for text in texts)
    assert 5 <= words[0] <= 10
    assert 60 <= words[-1] <= 100  # about 1.6 tokens a word in the embedded model


def test_a_scene_shows_what_it_says(groups: dict[Split, list[Group]]):
    scenes = [i.image for drawn in groups["train"] for i in drawn.items if isinstance(i.image, Scene)]
    one = next(s for s in scenes if s.relation == "left of" and {s.first.colour, s.second.colour} == {"red", "blue"})
    picture = one.draw()
    assert picture.size == (SIDE, SIDE)
    colours = {"red": (255, 0, 0), "blue": (0, 0, 255)}
    for shape, half in ((one.first, (0, 0, SIDE // 2, SIDE)), (one.second, (SIDE // 2, 0, SIDE, SIDE))):
        shown = {colour for _, colour in picture.crop(half).getcolors() or []}
        assert shown == {(255, 255, 255), colours[shape.colour]}
    assert (f"is left of the {one.second}", str(one.first), ()) in one.asked()


def test_emoji_are_asked_about_by_name(tmp_path: Path):
    tiny_picture(1).save(tmp_path / "1.png")
    emoji = [Picture(tmp_path / "1.png", "striped carpet")]
    drawn = [group(1, "train", number, Mixture(emoji=emoji, pictured=1.0)) for number in range(5)]
    shown = [(one.items[task.about], task) for one in drawn for task in one.tasks if "picture" in task.kind]
    of_emoji = [(item, task) for item, task in shown if item.image == emoji[0]]
    assert len(shown) > len(of_emoji) > 20
    for item, task in of_emoji:
        assert task.right == ("striped carpet",)
        assert item.picture() == tiny_picture(1)


def test_a_group_is_the_same_in_every_process():
    drawn = "[group(1, 'train', n, Mixture()) for n in range(8)]"
    script = f"from comem_memory.synthesis.groups import *; print({drawn})"
    environment = os.environ | {"PYTHONHASHSEED": "123"}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True, text=True)
    assert said.stdout.strip() == str([group(1, "train", n, Mixture()) for n in range(8)])
    assert group(1, "train", 0, Mixture()) != group(2, "train", 0, Mixture())


# -- what is evaluated -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE_UP)
def test_question_sets_are_of_the_test_split(name: str, groups: dict[Split, list[Group]]):
    questions = question_set(name, limit=20)
    assert questions == question_set(name, limit=20) or name == "scenes"  # pictures are compared by identity
    items = {item.id: item for item in questions.items}
    assert len(questions.asked) == 20
    trained = {normalise(item.name) for split in SPLITS[:2] for drawn in groups[split] for item in drawn.items}
    for one in questions.asked:
        text = items[one.item_ids[-1]].text or ""
        said = f" {normalise(text)} "
        assert not [name for name in trained if f" {name} " in said]
        if name not in ("yes-no", "not-in-memory", "scenes"):
            assert contains(text, one.answers[0])
        assert (items[one.item_ids[-1]].image is not None) == (name == "scenes")
    assert len(questions.asked[0].item_ids) == (3 if name == "which" else 1)
    if name in LANGUAGES:
        assert {one.kind for one in questions.asked} == {name, "english"}


# -- corpora -----------------------------------------------------------------------------------------------------


def world_drafts(*, pictures: bool = False) -> WorldDrafts:
    return WorldDrafts(1, mixtures(("spanish",), dict.fromkeys(SPLITS, ()) if pictures else None))


def never(asked: Any) -> Any:
    raise AssertionError("nothing is to be asked")


class Scripted:
    """Reads items as a model would that knows every draft: right in two of three answers, else wrong or endless."""

    def __init__(self, drafts: WorldDrafts) -> None:
        self.known = {
            draft.question: draft
            for split in SPLITS
            for number in range(12)
            for draft in drafts.of_group(split, number)
        }
        self.asked = 0

    def __call__(self, asked: Sequence[tuple[str, Sequence[DraftItem]]]) -> list[str | None]:
        self.asked += len(asked)
        return [self.said(question) for question, _ in asked]

    def said(self, question: str) -> str | None:
        draft = self.known[question]
        match len(question) % 6:
            case 0:
                return None
            case 1:
                return "I think it is something else."
            case _:
                return f"Well: {draft.right[0]}."


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_known_answers_need_no_model(tmp_path: Path):
    drafts = world_drafts(pictures=True)
    counts = synthesize(tmp_path / "a", drafts, samples=100, answers="known", read=never, seed=1)
    assert counts == {"train": 100, "development": 5, "test": 5}
    for split in SPLITS:
        samples = read_corpus(tmp_path / "a", split)
        assert len(samples) == counts[split]
        for sample in samples:
            assert 1 <= len(sample.items) <= ITEMS
            assert any(contains(sample.answer, right) for right in sample.right)
            texts = " ".join(sample.items[place].text for place in sample.gold)
            assert sample.kind != "fact" or contains(texts, sample.right[0])
            assert sample.gold or sample.kind == "not in memory"
            assert all((tmp_path / "a" / i.image).is_file() for i in sample.items if i.image)
    given = Counter(len(sample.items) for sample in read_corpus(tmp_path / "a", "train"))
    assert given[1] > 25 and max(given) == ITEMS
    synthesize(tmp_path / "b", drafts, samples=100, answers="known", read=never, seed=1)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert any(name.startswith("images/") for name in files(tmp_path / "a"))
    assert "path: development.jsonl" in (tmp_path / "a" / "README.md").read_text()


def test_only_right_answers_are_learnt(tmp_path: Path):
    drafts = world_drafts()
    reader = Scripted(drafts)
    synthesize(tmp_path / "a", drafts, samples=60, answers="self", read=reader, seed=1)
    kept = read_corpus(tmp_path / "a", "train")
    assert len(kept) == 60
    for sample in kept:
        assert sample.answer == f"Well: {sample.right[0]}."
        assert len(sample.question) % 6 > 1
    asked = [draft for number in range(12) for draft in drafts.of_group("train", number)]
    passed = [draft.question for draft in asked if len(draft.question) % 6 > 1]
    assert [sample.question for sample in kept] == passed[:60]


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("She lives in Oslo.", True),
        ("oslo", True),
        ("She lives in Oslo or in Bergen.", False),
        ("She lives in Bergen.", False),
        ("She lives in Oslofjord.", False),
        ("", False),
        (None, False),
    ],
)
def test_what_is_right(said: str | None, right: bool):
    draft = Draft("Where does Ada live?", "Ada lives in Oslo.", ("Oslo",), ("Bergen",), (), (), "fact", "english")
    assert draft.answered_by(said) == right


def test_wrong_are_the_other_items_values_of_the_same_kind():
    drafts = [draft for number in range(10) for draft in world_drafts().of_group("train", number)]
    places = 0
    for draft in drafts:
        assert draft.answered_by(draft.answer), draft
        assert not any(draft.answered_by(f"{draft.answer} {wrong}") for wrong in draft.wrong)
        if draft.kind == "which" and len(draft.items) > 1:
            assert len(draft.wrong) >= len(draft.items) - 1
        places += draft.kind == "fact" and len(draft.wrong) > 0
    assert places > 20


def test_a_killed_synthesis_resumes(tmp_path: Path):
    """What was done is not asked again, what was half written is not read, and the corpus is the same."""
    drafts, whole, rest = world_drafts(), Scripted(world_drafts()), Scripted(world_drafts())
    synthesize(tmp_path / "whole", drafts, samples=90, answers="self", read=whole, seed=1)

    asked = 0

    def killed(prompts: Any) -> Any:
        nonlocal asked
        asked += len(prompts)
        if asked > 100:
            raise KeyboardInterrupt
        return whole(prompts)

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "out", drafts, samples=90, answers="self", read=killed, seed=1)
    assert not (tmp_path / "out").exists()
    with pytest.raises(CorpusError, match="holds work with another --seed. Delete it"):
        synthesize(tmp_path / "out", drafts, samples=90, answers="self", read=rest, seed=2)
    (tmp_path / "out.synthesizing" / "train-000009.jsonl.partial").write_text("hal")
    total = whole.asked
    synthesize(tmp_path / "out", drafts, samples=90, answers="self", read=rest, seed=1)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert 0 < rest.asked < total - rest.asked
    assert not (tmp_path / "out.synthesizing").exists()
    with pytest.raises(CorpusError, match="exists already"):
        synthesize(tmp_path / "out", drafts, samples=90, answers="self", read=rest, seed=1)


def test_a_model_that_is_never_right_is_given_up(tmp_path: Path):
    with pytest.raises(CorpusError, match="Of 20 groups of test no question was answered rightly"):
        synthesize(tmp_path / "out", world_drafts(), samples=9, answers="self", read=lambda asked: [None] * len(asked))
    assert not (tmp_path / "out").exists()


def test_languages_are_checked():
    with pytest.raises(CorpusError, match="no phrases in 'klingon'. There are: english, spanish"):
        mixtures(("klingon",), None)
    assert mixtures((), None)["train"].languages == ("english",)


def test_the_frozen_model_answers_from_items(tmp_path: Path):
    """One by one as in batches, from plain retrieval-augmented prompts; answers without an end are none."""
    backbone = tiny_backbone("llava")
    asked = [("Who?", [DraftItem("a", "Ada is here.", tiny_picture(1)), DraftItem("b", "So is Bob.")]), ("Where?", [])]
    [first, _] = frozen_reader(backbone)(asked)
    assert first is None  # a random model comes to no end

    def prompt(question: str, items: Sequence[DraftItem]) -> ModelInputs:
        content = retrieval_content(
            question,
            [PromptItem(item.text, item.image) for item in items],
            supports_images=True,
            template=TEXT_PROMPTS["plain"],
        )
        return backbone.prompts.prompt_inputs([{"role": "user", "content": content}])

    [tokens] = backbone.generate([prompt("Who?", [])], max_new_tokens=4)
    backbone.model.generation_config.eos_token_id = tokens[-1]
    said = frozen_reader(backbone)([*asked, ("Who?", [])])
    assert said[-1] is not None
    for (question, items), answer in zip(asked, said[:2], strict=True):
        [tokens] = backbone.generate([prompt(question, items)], max_new_tokens=MAX_NEW_TOKENS)
        assert answer == (backbone.decode(tokens) if len(tokens) < MAX_NEW_TOKENS else None)
    long = [("Who?", [DraftItem("a", "w" * backbone.max_length)])]
    assert frozen_reader(backbone)(long) == [None]
    with pytest.raises(CorpusError, match="takes no pictures. Pass --no-pictures"):
        frozen_reader(tiny_backbone("qwen2"))(asked)


# -- own items ---------------------------------------------------------------------------------------------------


def own_file(folder: Path, count: int = 24) -> Path:
    for seed in range(count):
        tiny_picture(seed).save(folder / f"{seed}.png")
    lines: list[dict[str, Any]] = [
        {"id": f"door-{n}", "text": f"The door number {n} opens with key {n + 100}.", "image": f"{n}.png"}
        for n in range(count)
    ]
    for n in range(0, count, 2):
        lines[n]["questions"] = [{"question": f"Which key opens door {n}?", "answer": f"key {n + 100}"}]
    path = folder / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def doors(asked: Sequence[tuple[str, Sequence[DraftItem]]]) -> list[str | None]:
    """A model that writes a question about the number, guesses even keys without seeing any, and else reads."""
    said: list[str | None] = []
    for question, items in asked:
        if "Use this form" in question:
            [n, key] = re.findall(r"\d+", items[0].text)
            said.append(f"Question: What opens door {n}?\nAnswer: key {key}" if "number" in question else "No idea.")
            continue
        [n] = re.findall(r"\d+", question)
        found = [item for item in items if f"number {n} " in item.text]
        guess = f"It is key {int(n) + 100}." if int(n) % 3 == 0 else "It is a secret."
        said.append(f"It is key {int(n) + 100}." if found else guess)
    return said


def test_own_items_are_asked_with_their_neighbours(tmp_path: Path):
    drafts = OwnDrafts(own_file(tmp_path), 1, tiny_key(), doors)
    counts = synthesize(tmp_path / "own", drafts, samples=1000, answers="known", read=doors)
    samples = {split: read_corpus(tmp_path / "own", split) for split in SPLITS}
    assert counts == {split: len(samples[split]) for split in SPLITS}
    items = {split: {item.id for sample in samples[split] for item in sample.items} for split in SPLITS}
    assert not overlap(items)
    asked = {sample.question for split in SPLITS for sample in samples[split]}
    assert {f"Which key opens door {n}?" for n in range(0, 24, 2)} <= asked  # the user's own, all
    written = {n for n in range(1, 24, 2) if f"What opens door {n}?" in asked}
    assert written == {n for n in range(1, 24, 2) if n % 3}  # the others are guessed without the item
    for sample in samples["train"]:
        [gold] = sample.gold
        [n] = re.findall(r"\d+", sample.question)
        assert sample.items[gold].id == f"door-{n}"
        assert sample.answer == f"key {int(n) + 100}"
        assert sample.items[gold].image is not None
    assert max(len(sample.items) for sample in samples["train"]) > 4


def test_a_photo_is_kept_no_larger_than_models_see_it(tmp_path: Path):
    photo = tiny_picture(1).resize((3000, 2000))
    photo.save(tmp_path / "photo.jpg")
    item = {"image": "photo.jpg", "questions": [{"question": "What is it?", "answer": "colours"}]}
    lines = [{"text": f"Door {n}."} | item for n in range(3)]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    drafts = OwnDrafts(tmp_path / "own.jsonl", 1, tiny_key(), never)
    synthesize(tmp_path / "own", drafts, samples=3, answers="known", read=never)
    [kept] = (tmp_path / "own" / "images").iterdir()
    with Image.open(kept) as picture:
        assert 0.99 * MODEL_PIXELS < picture.width * picture.height <= MODEL_PIXELS


def test_own_items_of_several_pictures_are_trained_on_whole(tmp_path: Path):
    lines = []
    for n in range(4):
        shown = [f"{n}-{step}.png" for step in range(3)]
        for step, name in enumerate(shown):
            tiny_picture(10 * n + step).save(tmp_path / name)
        parts = [part for name in shown for part in ({"type": "image", "image": name}, f"Then came {name}.")]
        asked = [{"question": f"What came in run {n}?", "answer": "pictures"}]
        lines.append({"id": f"run-{n}", "text": f"Run {n}.", "content": parts, "questions": asked})
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    drafts = OwnDrafts(tmp_path / "own.jsonl", 1, tiny_key(), never)
    synthesize(tmp_path / "own", drafts, samples=4, answers="known", read=never)
    batches = CorpusBatches(tmp_path / "own", "train", questions=1, seed=1, num_batches=1, max_memories=1)
    [item] = batches[0]["items"]
    assert item.text.startswith("Run ")
    assert item.content is not None
    assert [isinstance(part, Path) for part in item.content] == [True, False] * 3

    encoder = MemoryEncoder.create(tiny_backbone("qwen2_5_vl"), num_attention_heads=4, max_length=6000)
    encoder.gradient_checkpointing_enable()
    arguments = training_arguments(tmp_path / "out", steps=1, learning_rate=1e-3, eval_strategy="no", bf16=False)
    trainer = MemoryTrainer(encoder, arguments, batches, [])
    before = [parameter.detach().clone() for parameter in encoder.lora_parameters()]
    assert trainer.train().training_loss > 0
    changed = zip(before, encoder.lora_parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in changed)
    [whole] = trainer._encode(batches[0])[0]
    last = replace(item, content=(*item.content[:4], tiny_picture(99), item.content[5]))
    [other] = trainer._encode(batches[0] | {"items": [last]})[0]
    assert not torch.allclose(whole, other)


def test_few_own_items_are_held_back_for_more_than_one_question(tmp_path: Path):
    splits = OwnDrafts(own_file(tmp_path), 1, tiny_key(), never)._split
    assert [len(splits[split]) for split in ("train", "development", "test")] == [14, 5, 5]


def test_neighbours_are_the_nearest(tmp_path: Path):
    texts = ["red apple pie", "red apple tart", "green submarine", "red apple cake", "yellow submarines", "dark tunnel"]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    drafts = OwnDrafts(path, 1, tiny_key(), doors)
    everything = list(range(len(texts)))
    assert set(drafts._nearest(0, everything)[:2]) == {1, 3}
    assert drafts._nearest(2, everything)[0] == 4


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"text": "a"}', '{"id": "b"}'], "line 2: .*neither text nor image"),
        (['{"text": "a"}', "plain"], "line 2: .*Each line is an object"),
        (['{"text": "a", "question": "b"}'], "line 1: .*Extra inputs"),
        (['{"image": "nowhere.png"}'], "line 1: there is no picture .*nowhere.png"),
        (['{"content": ["a", {"type": "image", "image": "nowhere.png"}]}'], "line 1: there is no picture .*nowhere"),
        (['{"content": []}'], "line 1: content has neither"),
        (['{"id": "a", "text": "a"}'] * 3, "two items of the same id"),
        (['{"text": "a"}'] * 2, "has 2 items. Training, development and test need one each"),
    ],
)
def test_own_items_that_are_refused(tmp_path: Path, lines: list[str], message: str):
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(CorpusError, match=message):
        OwnDrafts(path, 1, tiny_key(), never)


# -- training on a corpus ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "corpus"
    synthesize(folder, world_drafts(pictures=True), samples=150, answers="known", read=never)
    return folder


def test_batches_of_a_corpus_are_the_same_in_any_order(corpus: Path):
    def dataset(seed: int = 1) -> CorpusBatches:
        return CorpusBatches(corpus, "train", seed=seed, num_batches=23, questions=13)

    forwards = [*map(dataset().__getitem__, range(23))]
    jumping = dataset()
    for index in (22, 0, 12, 3, 22, 11):
        assert jumping[index] == forwards[index]
    assert dataset(2)[0] != forwards[0]
    with pytest.raises(IndexError):
        jumping[23]
    epoch = [asked.question for batch in forwards[:12] for asked in batch["asked"]][:150]
    assert sorted(epoch) == sorted(sample.question for sample in read_corpus(corpus, "train"))


def test_a_question_sees_its_items_first_alone(corpus: Path):
    by_question = {(s.question, s.answer): s for s in read_corpus(corpus, "train")}
    batches = CorpusBatches(corpus, "train", seed=1, num_batches=10, questions=30, max_memories=4, alone=5)
    longest = Counter[int]()
    for index, batch in enumerate(batches):
        texts = [item.text for item in batch["items"]]
        assert len(batch["items"]) <= 2 * ITEMS
        for asked in batch["asked"]:
            sample = by_question[asked.question, asked.answer]
            stored = [item.text for item in sample.items]
            assert [t for t in stored if t in {texts[i] for i in asked.items}][: len(asked.items)]
            assert len(asked.items) == (1 if index < 5 else min(4, len(sample.items)))
            assert all(stored[place] in [texts[i] for i in asked.items] for place in sample.gold)
            longest[len(asked.items)] += 1
        for restated in batch["restated"]:
            assert restated.answer == texts[restated.items[0]] != ""
    assert longest[4] > 20
    assert any(item.image for batch in batches for item in batch["items"])
    assert all(item.image.is_file() for batch in batches for item in batch["items"] if item.image)


def test_a_corpus_without_its_pictures(corpus: Path):
    batches = CorpusBatches(corpus, "train", seed=1, num_batches=5, questions=30, pictures=False)
    assert all(item.text and not item.image for batch in batches for item in batch["items"])
    pictured = {s.question for s in read_corpus(corpus, "train") if "picture" in s.kind}
    assert pictured and not pictured & {asked.question for batch in batches for asked in batch["asked"]}


def test_own_items_without_their_pictures_keep_all_their_texts(tmp_path: Path):
    asked = [{"question": "What is the code?", "answer": "17"}]
    parts = ["Press Menu.", "The code is 17."]
    lines = [{"id": id, "text": "Open the safe", "content": parts, "questions": asked} for id in ("a", "b", "c")]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    drafts = OwnDrafts(tmp_path / "own.jsonl", 1, tiny_key(), never)
    synthesize(tmp_path / "own", drafts, samples=1, answers="known", read=never)
    batches = CorpusBatches(tmp_path / "own", "train", questions=1, seed=1, num_batches=1, pictures=False)
    assert {item.text for item in batches[0]["items"]} == {"Open the safe\nPress Menu.\nThe code is 17."}


def test_folders_that_are_no_corpus(tmp_path: Path, corpus: Path):
    with pytest.raises(CorpusError, match="holds no train.jsonl. Pass a folder that `comem synthesize` has finished"):
        read_corpus(tmp_path, "train")
    (tmp_path / "train.jsonl").write_text((corpus / "train.jsonl").read_text()[:-40])
    with pytest.raises(CorpusError, match="train.jsonl, line 150: .*Make the corpus again"):
        read_corpus(tmp_path, "train")
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(CorpusError, match="is empty"):
        read_corpus(tmp_path, "train")


def test_the_commands_make_a_corpus_and_train_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        train, "speed_up_on_cpu", lambda backbone, max_length, compiled: None
    )  # compiling takes minutes
    base, start = save_tiny(tmp_path)
    made, adapter = tmp_path / "corpus", tmp_path / "adapter-of-corpus"

    def comem(*arguments: object) -> str:
        result = CliRunner().invoke(cli.app, [str(a) for a in ("--model", base, *arguments)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    options = ("--answers", "known", "--languages", "french, german", "--no-pictures")
    assert "60 of train, 3 of development, 3 of test written" in comem("synthesize", made, "--samples", 60, *options)
    languages = {sample.language for sample in read_corpus(made, "train")}
    assert languages <= {"english", "french", "german"} and len(languages) > 1
    with pytest.raises(CorpusError, match="no phrases in 'dutch'"):
        comem("synthesize", tmp_path / "x", "--languages", "dutch", "--no-pictures")
    with pytest.raises(CorpusError, match="holds no train.jsonl"):
        comem("train", adapter, "--data", tmp_path)
    few = ("--questions", 60, "--prompt-steps", 1, "--max-length", 300)
    comem("train", adapter, "--data", made, "--start", start, *few)
    loaded = MemoryEncoder.from_pretrained(adapter, tiny_backbone("llava"))
    assert loaded.encode([loaded.inputs("The door is blue.")]).shape == (1, 8, 64)
    assert (adapter / "checkpoint-3").is_dir()  # three times through the corpus
    with pytest.raises(ItemTooLongError, match="but the encoder's window of 300 has room"):
        loaded.inputs("word " * 300)
    asked = ("--questions", "corpus", "--folder", made, "--sources", "memory")
    told = json.loads(comem("--adapter", adapter, "evaluate", *asked, "--json").splitlines()[-1])
    test = [sample for sample in read_corpus(made, "test") if sample.gold]
    assert told["n"] == len(test) and told["name"] == "corpus, test"
    assert sorted(one["text"] for one in told["asked"]) == sorted(sample.question for sample in test)
    searched = question_set("corpus", folder=made, split="train", searched=True, limit=2)
    assert len(list(searched.items)) > 8 and len(searched.asked) == 2
