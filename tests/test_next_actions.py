"""Next-action questions: whom they are about, what they tell, and that every source is asked."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.saved import save_roomy
from PIL import Image

from comem_memory import ContinuousMemory
from comem_memory.errors import BenchmarkError
from comem_memory.evaluation.actions import read_action
from comem_memory.evaluation.benchmarks.multimodal_mind2web import trajectories
from comem_memory.evaluation.comparison import compare
from comem_memory.evaluation.next_actions import next_actions, own, question, right_actions, similar
from comem_memory.evaluation.plots import draw_shares
from comem_memory.evaluation.question_sets import question_set
from comem_memory.testing import tiny_key, tiny_picture
from comem_memory.trajectory import Step, Trajectory


def runs(*tasks: str, domain: str | None = None) -> list[Trajectory]:
    return [
        Trajectory(
            task=task,
            steps=[
                Step(picture=tiny_picture(n), action='click "Lamps"'),
                Step(picture=tiny_picture(n + 9), action=f'type "{task}" into "Search"'),
            ],
            domain=domain,
        )
        for n, task in enumerate(tasks)
    ]


def test_similar_pairs_keep_what_is_asked_about_out_of_memory():
    given = runs("Buy a red lamp", "Buy a red rug", "buy a red lamp.", "Sell one blanket", "Cancel my order")
    pairs = similar(given)
    assert [(one.task, other.task) for one, other in pairs] == [
        ("Buy a red lamp", "Buy a red rug"),
        ("buy a red lamp.", "Buy a red rug"),
    ]
    with pytest.raises(BenchmarkError, match="similar"):
        similar([*runs("Buy a red lamp", domain="shop"), *runs("Buy a red rug", domain="market")])


def test_a_question_tells_task_and_steps_and_shows_the_screen():
    [trajectory] = runs("Buy a red lamp", domain="shop")
    steps = [read_action(step.action) for step in trajectory.steps]
    assert "Task on shop: Buy a red lamp\nSteps so far: none\n" in question(trajectory, [])
    assert 'Steps so far:\n1. click "Lamps"\nWhat is' in question(trajectory, steps[:1])
    asked = {one.id: one for one in next_actions("runs", own([trajectory])).asked}
    assert asked["0/1"].image == trajectory.steps[1].picture
    assert asked["0/1"].answers == ("Search",)
    assert asked["0/1"].kind == "type"


def test_steps_without_anything_to_name_are_not_asked_about():
    [trajectory] = runs("Buy a red lamp")
    icons = [
        Step(action=action)
        for action in ("[svg]   -> CLICK", "[button]  ... -> CLICK", 'type(text="lamp")', "click(index=5)", "Done.")
    ]
    nameless = trajectory.model_copy(update={"steps": (*icons, *trajectory.steps)})
    assert list(right_actions(own([nameless]))) == ["0/5", "0/6"]
    with pytest.raises(BenchmarkError, match="names"):
        next_actions("runs", own([nameless.model_copy(update={"steps": tuple(icons)})]))


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    folders = save_roomy(tmp_path_factory.mktemp("roomy"))
    with ContinuousMemory.from_pretrained(*folders, key=tiny_key()) as memory:
        yield memory


def test_every_source_is_asked_with_the_trajectory_in_memory(memory: ContinuousMemory):
    asked = next_actions("runs", own(runs("Buy a lamp", "Sell a rug")))
    sources = ("text", "memory", "memory and text")
    found = compare(memory.namespace("runs"), asked, sources=sources)
    assert found.n == 4
    assert {"none", *sources, "shuffled memory", "shuffled memory and text"} == set(found.published)
    assert found.published["none"].keys() == {"element accuracy", "operation F1", "step success"}
    assert found.scores["memory"].prompt_tokens == found.scores["none"].prompt_tokens + 8


def test_another_memory_is_that_of_another_task(memory: ContinuousMemory):
    """A run that two pairs remember is one item, and neither it nor another run of its task is the control."""
    given = runs("Buy a red lamp", "Buy a red lamp now", "Buy a red rug", "Buy a red rug")
    given[3] = given[3].model_copy(update={"steps": given[3].steps[:1]})
    sets = {
        "twice": [(given[0], given[2]), (given[1], given[2])],
        "again": [(given[0], given[2]), (given[1], given[3])],
        "other": [(given[0], given[2]), (given[2], given[3]), (given[3], given[0])],
    }
    items, controlled = {}, {}
    for name, pairs in sets.items():
        view = memory.namespace(name)
        found = compare(view, next_actions(name, pairs), sources=("memory",))
        items[name], controlled[name] = view.count(), "shuffled memory" in found.scores
    assert items == {"twice": 1, "again": 2, "other": 3}
    assert controlled == {"twice": False, "again": False, "other": True}


def test_shares_are_drawn_a_bar_for_each_set_and_source(tmp_path: Path):
    def ink(right: dict[str, list[bool]]) -> int:
        draw_shares(tmp_path / "shares.png", {"own": right}, "step success")
        with Image.open(tmp_path / "shares.png") as drawn:
            colours = drawn.convert("RGB").getcolors(10**6) or []
        return sum(count for count, colour in colours if colour == (31, 119, 180))  # blue

    low, high = ([True] * n + [False] * (5 - n) for n in (1, 4))
    assert ink({"none": low, "memory": high}) > 1.5 * ink({"none": low, "memory": low}) > 0


# -- Multimodal-Mind2Web -------------------------------------------------------------------------------------------


@pytest.fixture
def mind2web(tmp_path: Path) -> Path:
    """Two made-up tasks in the dataset's columns, in two files, one task in both; a step of it has no row."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def screenshot(seed: int) -> dict[str, Any]:
        tiny_picture(seed).save(content := io.BytesIO(), "PNG")
        return {"bytes": content.getvalue(), "path": None}

    def row(task: str, index: int, actions: list[str], seed: int) -> dict[str, Any]:
        return {
            "action_uid": f"{task}-{index}",
            "raw_html": "<html/>",
            "cleaned_html": "<html/>",
            "operation": json.dumps({"original_op": "CLICK", "value": "", "op": "CLICK"}),
            "pos_candidates": [json.dumps({"tag": "a", "attributes": "{}"})],
            "neg_candidates": [],
            "website": "madeup",
            "domain": "Travel",
            "subdomain": "Ferries",
            "annotation_id": task,
            "confirmed_task": f"Book a ferry to {task}",
            "screenshot": screenshot(seed),
            "action_reprs": actions,
            "target_action_index": str(index),
            "target_action_reprs": actions[index],
        }

    first = ["[link]  Ferries -> CLICK", "[textbox]  To -> TYPE: Skye", "[button]  Book -> CLICK"]
    second = ["[link]  Ferries -> CLICK", "[textbox]  To -> TYPE: Mull"]
    (tmp_path / "data").mkdir()
    files = [
        [row("Skye", 2, first, 1), row("Mull", 0, second, 2)],
        [row("Mull", 1, second, 3), row("Skye", 0, first, 4)],
    ]
    for number, rows in enumerate(files):
        table = pyarrow.Table.from_pylist(rows)
        parquet.write_table(table, tmp_path / "data" / f"test_task-{number:05}-of-00002-abc.parquet")
    return tmp_path


def test_mind2web_becomes_trajectories(mind2web: Path):
    mull, skye = trajectories(mind2web, "test_task")
    assert (mull.id, skye.id) == ("Mull", "Skye")
    assert mull.task == "Book a ferry to Mull"
    assert mull.domain == "madeup"
    assert mull.metadata == {"category": "Travel", "subdomain": "Ferries"}
    assert [step.action for step in skye.steps] == [
        "[link]  Ferries -> CLICK",
        "[textbox]  To -> TYPE: Skye",
        "[button]  Book -> CLICK",
    ]
    shown = [step.picture and Image.open(io.BytesIO(step.picture)).tobytes() for step in skye.steps]
    assert shown == [tiny_picture(4).tobytes(), None, tiny_picture(1).tobytes()]


def test_an_empty_action_of_mind2web_is_told_with_its_row(mind2web: Path):
    from pyarrow import parquet

    file = sorted((mind2web / "data").iterdir())[1]
    rows = parquet.read_table(file)
    whole = rows.column("action_reprs").to_pylist()
    emptied = [[whole[0][0], " "], *whole[1:]]
    parquet.write_table(rows.set_column(rows.schema.get_field_index("action_reprs"), "action_reprs", [emptied]), file)
    with pytest.raises(BenchmarkError, match=f"{file.name}, row 1, action_reprs, entry 1"):
        list(trajectories(mind2web, "test_task"))


def test_the_set_is_asked_for_by_name(mind2web: Path):
    asked = question_set("next-actions", folder=mind2web, split="test_task")
    assert len(asked.asked) == 5
    assert {item.id for item in asked.items} == {"Mull", "Skye"}
    fairer = question_set("similar-actions", folder=mind2web, split="test_task")
    assert {(one.text.split("\n")[0], one.item_ids) for one in fairer.asked} == {
        ("Task on madeup: Book a ferry to Mull", ("Skye",))
    }
    with pytest.raises(BenchmarkError, match="folder"):
        question_set("next-actions")
    with pytest.raises(BenchmarkError, match="is missing"):
        question_set("next-actions", folder=mind2web, split="train")
    with pytest.raises(BenchmarkError, match="Pass one of the two"):
        question_set("next-actions", folder=mind2web, split="test_task", format="messages")
