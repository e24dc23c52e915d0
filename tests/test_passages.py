"""Items in passages: one item, of which a question gets the vectors of the passage that it is about."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.memories import DOOR, assert_encodes, embedded, fresh
from helpers.served import as_opened

from comem_memory import ContinuousMemory, MemoryEncoder, MemoryHit, MemoryItem
from comem_memory.chat import NamedItems
from comem_memory.errors import InvalidItemError, ItemNotFoundError, ItemTooLongError, QueryError
from comem_memory.evaluation import comparison
from comem_memory.evaluation.comparison import EvaluationQuestion, QuestionSet, compare
from comem_memory.passages import SHORT, in_passages, of_sentences
from comem_memory.ray.rows import item_in, row_of
from comem_memory.redaction import redacted
from comem_memory.store import encode_block
from comem_memory.store.packing import ENOUGH, mean_of, pack, unpack
from comem_memory.testing import ColourEmbedder, LetterEmbedder, tiny_backbone, tiny_encoder, tiny_key, tiny_picture
from comem_memory.ui.overview import drift
from comem_memory.ui.projection import plane

HOUSE = MemoryItem(
    id="house",
    text="Elm House stands by the river. Its blue door opens with a brass key. Tom bakes bread on Mondays.",
    image=tiny_picture(1),
    metadata={"year": 2020},
)
PASSAGES = (
    "Elm House stands by the river.",
    "Elm House stands by the river. Its blue door opens with a brass key.",
    "Elm House stands by the river. Tom bakes bread on Mondays.",
)
ASKED = {"Where is the river?": 0, "What opens the blue door?": 1, "Who bakes bread on Mondays?": 2}
OTHER = MemoryItem(id="other", text="A lamp hangs in the hall. The lamp is green.")


@pytest.fixture(scope="module")
def encoder() -> MemoryEncoder:
    return tiny_encoder(tiny_backbone("llava"))


@pytest.fixture
def house(memory: ContinuousMemory) -> ContinuousMemory:
    """A memory of one item in passages."""
    memory.add([HOUSE], passages="sentence")
    return memory


def alone(encoder: MemoryEncoder, passage: int) -> torch.Tensor:
    """What the encoder makes of a passage by itself; the picture goes with the first."""
    return fresh(encoder, MemoryItem(text=PASSAGES[passage], image=None if passage else HOUSE.image))


def assert_is_house(hit: MemoryHit, encoder: MemoryEncoder, passage: int) -> None:
    assert (hit.passages, hit.passage, hit.text) == (PASSAGES, passage, HOUSE.text)
    assert_encodes(hit.memory_embeddings, alone(encoder, passage))


# -- cutting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Kenya is big! Its code is +254. Is it?", ["Kenya is big!", "Its code is +254.", "Is it?"]),
        ('Dr. Ada met J. R. Fox. He said "Hi." Then', ["Dr. Ada met J. R. Fox.", 'He said "Hi."', "Then"]),
        ("# Doors\nThe first\nis blue. It opens.", ["Doors", "The first is blue.", "It opens."]),
        ("All:\n- one. Two\n  and three\n1. Go", ["All:", "one.", "Two and three", "Go"]),
        ("今天很好。明天也好。", ["今天很好。", "明天也好。"]),
        ("It costs 3.50 euros", ["It costs 3.50 euros"]),
        (" \n", []),
    ],
)
def test_sentences_of_paragraphs_and_lists(text: str, found: list[str]):
    assert [one.strip() for one in of_sentences(text) if one.strip()] == found


def test_in_front_of_a_passage_stands_what_the_text_is_about():
    assert in_passages(HOUSE, "sentence").passages == PASSAGES
    titled = MemoryItem(text="It is old. It is red.", metadata={"title": "Elm House"})
    assert in_passages(titled, "sentence").passages == ("Elm House: It is old.", "Elm House: It is red.")
    long = MemoryItem(text=f"{'So ' * SHORT}it began. It is red.")
    assert in_passages(long, "sentence").passages == (f"{'So ' * SHORT}it began.", "It is red.")
    headed = MemoryItem(text="# Elm House\nIt is old.")
    assert in_passages(headed, "sentence").passages == ("Elm House", "Elm House: It is old.")
    assert in_passages(MemoryItem(text="Name: Ada\n\nAge: 5"), str.splitlines).passages == (
        "Name: Ada",
        "Name: Ada: Age: 5",
    )


def test_what_is_one_passage_has_parts_or_has_passages_stays_as_it_is():
    several = MemoryItem(content=["A door. It is blue.", tiny_picture(1), "A key."])
    own = MemoryItem(text="One. Two.", passages=["One", "and two"])
    for item in (DOOR, several, own, MemoryItem(image=tiny_picture(1)), MemoryItem(text="One. Two.")):
        assert in_passages(item, None if item.text == "One. Two." else "sentence") is item
    assert own.passages == ("One", "and two") and in_passages(own, str.split) is own
    for wrong in ("word", 3):
        with pytest.raises(InvalidItemError, match="Pass 'sentence'"):
            in_passages(DOOR, wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidItemError, match="list of texts"):
        in_passages(DOOR, lambda _: [1, 2])  # type: ignore[arg-type, list-item]
    with pytest.raises(InvalidItemError, match="has passages"):
        MemoryItem(image=tiny_picture(1), passages=["a", "b"])


def test_redaction_and_rows_of_ray_have_the_passages():
    item = MemoryItem(text="My pin is 58. It is new.", passages=["My pin is 58.", "It is new."])
    assert redacted(item, lambda text: text.replace("58", "?")).passages == ("My pin is ?.", "It is new.")
    assert item_in(row_of(item)) == item


# -- one item, of which a passage is recalled -------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["here", "served"])
def test_a_question_gets_the_vectors_of_the_passage_that_it_is_about(
    where: str, memory: ContinuousMemory, encoder: MemoryEncoder
):
    with as_opened(where, memory) as view:
        assert view.add([HOUSE, DOOR], passages="sentence", progress=False) == ["house", "door"]
        assert (view.count(), view.ids()) == (2, ["door", "house"])
        for question, passage in ASKED.items():
            [hit] = view.search(question, k=1, where={"year": {"$lte": 2020}})
            if hit.id == "house":
                assert_is_house(hit, encoder, passage)
            [hit] = view.get("house", question=question)
            assert_is_house(hit, encoder, passage)
        [hit] = view.search(image=HOUSE.image, k=1)
        assert_is_house(hit, encoder, 0)
        [hit] = view.get("house")
        assert (hit.passages, hit.passage) == (PASSAGES, None)
        for passage, block in enumerate(hit.blocks):
            assert_encodes(block, alone(encoder, passage))
        assert torch.equal(hit.memory_embeddings, hit.blocks.flatten(0, 1))
        [door] = view.get("door", question="What opens the blue door?")
        assert (door.passages, door.passage, len(door.blocks)) == ((), None, 1)
        assert_encodes(door.memory_embeddings, fresh(encoder, DOOR))
        assert len(view.describe("house", max_new_tokens=3).restated.split("\n")) >= 3
        [found] = view.search("Who bakes bread on Mondays?", k=1)
        view.update("house", text="Elm House is gone. It burned.")
        if where == "served":  # whose vectors are fetched when they are looked at
            with pytest.raises(ItemNotFoundError, match="changed"):
                print(found.memory_embeddings)
            with pytest.raises(QueryError, match="passages cannot be sent"):
                view.update("house", passages=str.split)
        assert view.get("house")[0].passages == ("Elm House is gone.", "Elm House is gone. It burned.")
        view.update("door", text="A door. A key.", passages="sentence")
        assert view.get("door")[0].passages == ("A door.", "A door. A key.")
        view.delete(ids="house")
        assert view.ids() == ["door"]


def test_a_recall_costs_as_many_vectors_as_ever_and_texts_stand_whole(house: ContinuousMemory):
    for question, passage in ASKED.items():
        messages = [{"role": "user", "content": question}]
        named = [{"role": "system", "content": "", "named": NamedItems(("house",), "")}, *messages]
        for recalled in (
            house.recall(messages, k=1, mode="memory"),
            house.recall(messages, ids=["house"], mode="memory"),
            house.recall(messages, found=["house"], mode="memory"),
            house.recall(named, mode="memory"),
        ):
            assert [hit.passage for hit in recalled.hits] == [passage]
            assert recalled.memory is not None and len(recalled.memory) == 8
        shown = house.recall(messages, k=1, mode="text").messages
        assert HOUSE.text in json.dumps([part for part in shown[-1]["content"] if part["type"] == "text"])
    picture = [{"role": "user", "content": [{"type": "image", "image": HOUSE.image}]}]
    assert house.recall(picture, ids=["house"], mode="memory").hits[0].passage == 0


def test_adding_changing_and_encoding_again(house: ContinuousMemory, encoder: MemoryEncoder):
    [before] = house.store.get(["house"], namespace="default")
    assert house.add(HOUSE) == house.add(HOUSE, passages=str.split) == ["house"]  # what is stored keeps its vectors
    house.update("house", metadata={"year": 2021})
    [after] = house.store.get(["house"], namespace="default")
    assert (after.block, after.passages, after.passage_keys) == (before.block, PASSAGES, before.passage_keys)
    assert after.content_hash == before.content_hash and np.array_equal(after.key, before.key)
    house.update("house", passages=lambda text: text.split(" Tom"))
    [hit] = house.get("house")
    assert len(hit.blocks) == 2 and hit.text == HOUSE.text and hit.passages[1].endswith("bakes bread on Mondays.")
    house.update("house", image=tiny_picture(2))  # the passages stay
    assert house.get("house")[0].passages == hit.passages
    house.update("house", text="One passage is left.")
    [hit] = house.get("house", question="What is left?")
    assert (hit.passages, hit.passage, len(hit.memory_embeddings)) == ((), None, 8)
    with pytest.raises(InvalidItemError, match="Encode each"):
        house.encode(in_passages(HOUSE, "sentence"))


def test_another_encoder_or_key_makes_the_passages_anew(house: ContinuousMemory):
    other = tiny_encoder(tiny_backbone("llava"), seed=1)
    with ContinuousMemory(other, tiny_key(), house.store, picture_directory=house._pictures.folder) as migrated:
        assert migrated.reencode(progress=False) == 1
        for question, passage in ASKED.items():
            assert_is_house(migrated.get("house", question=question)[0], other, passage)

        class Reversed(LetterEmbedder):
            name = "reversed"

            def embed(self, inputs: Any) -> np.ndarray:
                return super().embed([text[::-1] for text in inputs])

        for text, chosen in ((Reversed(), 2), (None, 0)):  # which cannot tell passages apart without a text embedder
            key = type(tiny_key())(text, ColourEmbedder())
            view = ContinuousMemory(other, key, house.store, picture_directory=house._pictures.folder)
            assert view.rekey(progress=False) == 1
            assert view.get("house", question="Who bakes bread on Mondays?")[0].passage == chosen


def test_passages_travel_in_an_export_of_format_5(house: ContinuousMemory, encoder: MemoryEncoder, tmp_path: Path):
    house.add(OTHER)
    for where, version in (({"year": 2020}, 5), ({"year": {"$ne": 2020}}, 2)):
        house.export(tmp_path / f"{version}", where=where)
        assert json.loads((tmp_path / f"{version}" / "export.json").read_text())["format_version"] == version
    assert "passage" not in (tmp_path / "2" / "items.jsonl").read_text()
    with embedded(encoder, tmp_path / "loaded") as loaded:
        assert loaded.load(tmp_path / "5") == 1
        for question, passage in ASKED.items():
            assert_is_house(loaded.get("house", question=question)[0], encoder, passage)


def test_a_passage_is_cut_where_it_is_longer_than_the_window(memory: ContinuousMemory):
    long = MemoryItem(id="long", text=f"It begins. {'word ' * 300}ends.")
    with pytest.raises(ItemTooLongError, match="'long'"):
        memory.add(long, passages="sentence")
    memory.add(long, passages="sentence", truncate=True)
    many = MemoryItem(id="many", text=" ".join(f"Sentence {n} is here." for n in range(40)))
    memory.add(many, passages="sentence")  # which as a whole would be too long
    assert [hit.truncated for hit in memory.get(["long", "many"])] == [True, False]
    assert memory.count() == 2
    with pytest.raises(InvalidItemError, match="may have 8191"):
        memory.add(MemoryItem(text="x", passages=["x"] * 8192))


def test_the_page_in_the_browser_shows_them_among_others(house: ContinuousMemory):
    house.add(OTHER)
    assert plane(house.get(["house", "other"])).shape == (2, 2)
    assert all(cosine > 0.99 for _, cosine in drift(house))


def test_evaluation_gives_each_question_its_passage(memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    given: list[tuple[str, Any, int]] = []
    real = ContinuousMemory.prompt

    def prompt(self: ContinuousMemory, question: str, picture: Any, hits: Any, mode: Any) -> Any:
        given.extend((question, hit.passage, len(hit.memory_embeddings)) for hit in hits)
        return real(self, question, picture, hits, mode)

    monkeypatch.setattr(ContinuousMemory, "prompt", prompt)
    monkeypatch.setattr(comparison, "MAX_NEW_TOKENS", 2)
    asked = [EvaluationQuestion(text, ("?",), "kind", ("house",)) for text in ASKED]
    compared = compare(memory, QuestionSet("x", [HOUSE, OTHER], asked), sources=("memory",), passages="sentence")
    assert tuple(compared.scores) == ("none", "memory", "shuffled memory") and compared.name == "x, in passages"
    assert {(question, passage) for question, passage, _ in given} == set(ASKED.items())
    assert {vectors for *_, vectors in given} == {8}


# -- bytes ------------------------------------------------------------------------------------------------------------


def test_blocks_of_passages_are_packed_with_the_mean_of_all():
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(8, 64, generator=generator)

    def block(passages: int) -> str:
        vectors = common.repeat(passages, 1)
        return encode_block(vectors + 0.2 * torch.randn(vectors.shape, generator=generator), "int8")

    blocks = [block(1 + n % 5) for n in range(ENOUGH)]
    reference = mean_of(blocks)
    assert reference is not None and reference.vectors.shape == (8, 64)
    for one in blocks:
        packed = pack(one, reference)
        assert len(packed) < 0.85 * len(one) and unpack(packed, lambda _: reference) == one


def test_an_item_without_passages_is_stored_as_before(memory: ContinuousMemory):
    memory.add([DOOR, MemoryItem(id="house", text=HOUSE.text)])
    memory.add(OTHER, passages="sentence")
    with memory.store._opened.access() as collection:
        stored = {one["comem.id"]: one for one in collection.get(include=["metadatas"])["metadatas"]}
    assert not any(name.startswith("comem.passage") for id in ("door", "house") for name in stored[id])
    assert {"comem.passages", "comem.passage_keys"} <= stored["other"].keys()
