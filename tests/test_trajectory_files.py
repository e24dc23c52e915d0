"""Trajectories: what they are made of, and reading them from what agents' frameworks saved."""

import base64
import json
import warnings
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage, messages_to_dict

from comem_memory import Step, Trajectory
from comem_memory.errors import InvalidItemError
from comem_memory.files import read_trajectories, trajectory_of
from comem_memory.testing import tiny_picture


def png(seed: int) -> bytes:
    content = BytesIO()
    tiny_picture(seed, size=(8, 6)).save(content, format="PNG")
    return content.getvalue()


def encoded(seed: int) -> str:
    return base64.b64encode(png(seed)).decode()


def data_url(seed: int) -> str:
    return f"data:image/png;base64,{encoded(seed)}"


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2))
    return path


def summary(trajectory: Trajectory) -> list[tuple[bytes | None, str | None, str]]:
    return [(step.picture, step.reasoning, step.action) for step in trajectory.steps]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Step(action=" "), r"Step.action is empty. Say what the agent did"),
        (lambda: Step(picture=5, action="click()"), r"A picture is a int. Pass a path, encoded image bytes"),
        (lambda: Step(picture="https://a/b.png", action="click()"), r"is a URL, and a memory fetches none"),
        (lambda: Step(action=None), r"Step cannot be made: action: .* Pass picture"),  # type: ignore[arg-type]
        (lambda: Trajectory(task="Buy", steps=[]), r"Trajectory.steps is empty. Pass at least one Step"),
        (lambda: Trajectory(task=" ", steps=[Step(action="a")]), r"Trajectory.task is empty. Say what was to be done"),
        (lambda: Trajectory(task="Buy", steps=[{}]), r"Step cannot be made: action: Field required"),
        (
            lambda: Trajectory(task="Buy", steps=[Step(action="a")], metadata={"outcome": "failure"}),
            r"Trajectory.metadata has 'outcome'. Pass Trajectory\(outcome=...\) instead",
        ),
        (lambda: Trajectory(task="Buy"), r"Trajectory cannot be made: steps: Field required. Pass task"),
        (
            lambda: Trajectory(task="Buy", steps=[Step(action="a")], said_at=datetime(2026, 5, 3)),
            r"said_at: .* is no moment with a timezone",
        ),
    ],
)
def test_what_no_trajectory_is_made_of(made: Any, says: str):
    with pytest.raises(InvalidItemError, match=says):
        made()


# -- CoMEM's authors --------------------------------------------------------------------------------------------


def authors_run(
    *rounds: tuple[str | list | dict, str | None], task: str = "Find a lamp", **more: Any
) -> dict[str, Any]:
    def messages(url: str | None) -> list[dict[str, Any]]:
        shown = [] if url is None else [{"type": "image_url", "image_url": {"url": url}}]
        asked = [{"type": "text", "text": "The next action?"}, *shown]
        return [{"role": "system", "content": "You act."}, {"role": "user", "content": asked}]

    return {
        "task_description": "Find a lamp",
        "total_rounds": len(rounds),
        "rounds": [{"messages": messages(url), "response": response} for response, url in rounds],
    }


def action(name: str, why: str) -> str:
    return f"Action: {json.dumps({'name': name, 'arguments': {'reasoning': why}})}"


def test_files_of_the_authors(tmp_path: Path):
    kept = authors_run(
        (action("click", "Open it."), data_url(1)),
        ([action("click", "Open it.")], data_url(2)),
        ({"content": action("click", "Another.")}, data_url(3)),
        ("I stop here.", None),
    )
    run = tmp_path / "webvoyager" / "Shop" / "qwen" / "test_1"
    write(run / "success" / "7.jsonl", kept)
    write(run / "success" / "short.jsonl", authors_run(*[("click", data_url(1))] * 2))
    write(run / "success" / "long.jsonl", authors_run(*[("click", data_url(1))] * 15))
    write(run / "success" / "silent.jsonl", kept | {"task_description": ""})
    write(run / "negative" / "7.jsonl", kept)
    with pytest.warns() as told:
        [read] = read_trajectories([tmp_path], "comem-agent")
    assert (read.task, read.domain, read.outcome) == ("Find a lamp", "webvoyager_Shop", "success")
    assert summary(read) == [
        (png(1), None, action("click", "Open it.")),
        (png(3), None, action("click", "Another.")),
        (None, None, "I stop here."),
    ], "the second repeats the first"
    assert read.metadata == {"source": str(run / "success" / "7.jsonl"), "model": "qwen"}
    says = "\n".join(str(one.message).removeprefix(f"{run}/") for one in told)
    assert "success/short.jsonl is left out: it has 2 rounds, and 3 to 14 are read." in says
    assert "success/long.jsonl is left out: it has 15 rounds" in says
    assert "success/silent.jsonl is left out: its task_description is empty." in says
    assert "negative/7.jsonl is left out: it is a part of a run that failed (negative)." in says
    assert "success/7.jsonl is left out: 1 rounds that repeat the one before" in says and len(told) == 5


def test_pictures_that_are_damaged_are_told_and_left_out(tmp_path: Path):
    rounds = [("a", f"data:image/png;base64,{'A' * 40}"), ("b", "https://example.org/b.png"), ("c", data_url(3))]
    file = write(tmp_path / "run.jsonl", authors_run(*rounds))
    with pytest.warns(UserWarning, match=r"Of .*run.jsonl is left out: .*base64 is damaged.*cannot be read"):
        [read] = read_trajectories([file], "comem-agent")
    assert [step.picture for step in read.steps] == [None, None, png(3)] and read.domain is None


# -- browser-use ------------------------------------------------------------------------------------------------


def browser_step(goal: str, *actions: dict[str, Any], url: str = "https://shop.example/", **state: Any) -> dict:
    return {
        "model_output": {"evaluation_previous_goal": "", "memory": "", "next_goal": goal, "action": list(actions)},
        "result": [{"is_done": False}],
        "state": {"url": url, "title": "Shop", "tabs": [], "interacted_element": [None]} | state,
        "metadata": {"step_start_time": 1_700_000_000.0, "step_end_time": 1_700_000_001.0, "step_number": 1},
        "state_message": None,
    }


def test_runs_of_browser_use(tmp_path: Path):
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots" / "2.png").write_bytes(png(2))
    button = {"node_name": "BUTTON", "attributes": {"class": "b", "aria-label": "Search"}, "x_path": "html/body"}
    steps = [
        browser_step("Open the shop.", {"go_to_url": {"url": "shop.example"}}, url="about:blank", screenshot="A"),
        browser_step(
            "Search.",
            {"input_text": {"index": 3, "text": "lamp"}},
            {"click": {"index": 12}},
            interacted_element=[None, button],
            screenshot_path="shots/2.png",
        ),
        browser_step("", url="https://shop.example/lost", screenshot_path="shots/2.png") | {"model_output": None},
        browser_step("Done.", {"done": {"text": "Found.", "success": True}}, screenshot_path="shots/gone.png"),
    ]
    steps[-1]["result"] = [{"is_done": True, "success": False}]
    steps[1]["state_message"] = "<agent_state>\n<user_request>\nFind a lamp\n</user_request>"
    write(tmp_path / "run.json", {"history": steps})
    write(tmp_path / "other.json", {"runs": []})
    with pytest.warns() as told:
        [read] = read_trajectories([tmp_path], "browser-use")
    assert (read.task, read.outcome, read.domain) == ("Find a lamp", "failure", "shop.example")
    assert read.said_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert summary(read) == [
        (None, "Open the shop.", 'go_to_url(url="shop.example")'),
        (
            tmp_path / "shots" / "2.png",
            "Search.",
            'input_text(index=3, text="lamp")\nclick(index=12) <button "Search">',
        ),
        (None, "Done.", 'done(text="Found.", success=true)'),
    ]
    says = "\n".join(str(one.message) for one in told)
    assert "a screenshot (shots/gone.png is not there); 1 steps without an action." in says
    assert f"{tmp_path / 'other.json'} is left out: it is none of browser-use (KeyError('history'))." in says


def test_a_run_of_an_early_browser_use(tmp_path: Path):
    step = browser_step("", {"go_back": {}}, url="https://ada:pass@shop.example:8080/", screenshot=encoded(1))
    step["model_output"] = {"current_state": {"next_goal": "Back."}, "action": step["model_output"]["action"]}
    file = write(tmp_path / "run.json", {"history": [step]})
    with (
        pytest.warns(UserWarning, match=r"does not say its task. Write it into run.txt beside it."),
        pytest.raises(InvalidItemError, match=r"No file is a trajectory of browser-use. Pass files that it saved"),
    ):
        list(read_trajectories([file], "browser-use"))
    (tmp_path / "run.txt").write_text("Go back.\n")
    [read] = read_trajectories([file], "browser-use")
    assert (read.task, read.outcome, read.domain) == ("Go back.", "unfinished", "shop.example:8080")
    assert summary(read) == [(png(1), "Back.", "go_back()")]


# -- messages ---------------------------------------------------------------------------------------------------


def call(name: str, said: str = "", **arguments: Any) -> AIMessage:
    return AIMessage(said, tool_calls=[{"name": name, "args": arguments, "id": "1"}])


def result(*blocks: dict[str, Any]) -> ToolMessage:
    return ToolMessage([{"type": "text", "text": "Done."}, *blocks], tool_call_id="1")


MESSAGES: list[AnyMessage] = [
    SystemMessage("You act."),
    HumanMessage([{"type": "text", "text": "Find a lamp"}, {"type": "image_url", "image_url": {"url": data_url(1)}}]),
    call("open", "I open the shop.", url="shop.example"),
    result({"type": "image", "base64": encoded(2), "mime_type": "image/png"}),
    HumanMessage("A red one."),
    call("click", x=3, y=4),
    result({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": encoded(3)}}),
    AIMessage("Here is one."),
]
STEPS = [
    (png(1), "I open the shop.", 'open(url="shop.example")'),
    (png(2), "User: A red one.", "click(x=3, y=4)"),
    (png(3), None, "Here is one."),
]
OPENAI = [
    {"role": "developer", "content": "You act."},
    {
        "role": "user",
        "content": [{"type": "input_text", "text": "Find a lamp"}, {"type": "input_image", "image_url": data_url(1)}],
    },
    {
        "role": "assistant",
        "content": "I open the shop.",
        "tool_calls": [{"id": "1", "function": {"name": "open", "arguments": '{"url": "shop.example"}'}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": [{"type": "image_url", "image_url": {"url": data_url(2)}}]},
    {"role": "user", "content": "A red one."},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "2", "function": {"name": "click", "arguments": '{"x": 3, "y": 4}'}}],
    },
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url(3)}}]},
    {"role": "assistant", "content": "Here is one."},
]


@pytest.mark.parametrize(
    "messages",
    [MESSAGES, messages_to_dict(MESSAGES), dumpd(MESSAGES), OPENAI],
    ids=["objects", "dicts", "dumpd", "openai"],
)
def test_messages_of_an_agent(messages: list[Any]):
    read = trajectory_of(messages)
    assert read is not None and summary(read) == STEPS
    assert (read.task, read.outcome) == ("Find a lamp", "success")
    cut = trajectory_of(messages[:-1])
    assert cut is not None and (summary(cut), cut.outcome) == (STEPS[:-1], "unfinished")


def test_files_of_messages(tmp_path: Path):
    write(tmp_path / "one.json", messages_to_dict(MESSAGES))
    lines = [dumpd(MESSAGES), {"messages": messages_to_dict(MESSAGES[1:])}, messages_to_dict([HumanMessage("Hi")]), 5]
    (tmp_path / "some.jsonl").write_text("\n".join([*map(json.dumps, lines), "{"]))
    with pytest.warns() as told:
        read = list(read_trajectories([tmp_path], "messages"))
    assert [summary(one) for one in read] == [STEPS] * 3
    assert [one.metadata for one in read] == [
        {"source": str(tmp_path / name)} for name in ("one.json", *["some.jsonl"] * 2)
    ]
    says = [str(one.message).split(", ", 1)[1] for one in told]
    assert says[0] == "line 3, is left out: the agent called no tool and saw no picture."
    assert says[1].startswith("line 4, is left out: it is none of messages (TypeError(")
    assert says[2].startswith("line 5, is left out: it is no JSON: ") and len(says) == 3


def test_a_line_ends_where_json_lines_end_and_is_told_by_its_number(tmp_path: Path):
    run = [{"role": "user", "content": "Find\u2028a\u0085lamp"}, *OPENAI[2:]]
    lines = [json.dumps(run, ensure_ascii=False), "", "{"]
    (tmp_path / "some.jsonl").write_text("\r\n".join(lines), encoding="utf-8")
    with pytest.warns(UserWarning, match=r"some.jsonl, line 3, is left out: it is no JSON"):
        [read] = read_trajectories([tmp_path], "messages")
    assert read.task == "Find\u2028a\u0085lamp"


def test_what_is_left_out_of_messages_is_told():
    shown = [{"type": "image", "url": "https://example.org/a.png"}, {"type": "image", "file_id": "7"}]
    pictures = [
        {"type": "image_url", "image_url": data_url(1)},
        {"type": "media", "mime_type": "image/png", "data": encoded(2)},
    ]
    messages = [HumanMessage("Find a lamp"), call("look"), result(*shown, *pictures), call("click")]
    with pytest.warns(
        UserWarning,
        match=r"left out: a picture \(https://example.org/a.png is not fetched\); a picture \(its bytes are not "
        r"there\); 1 pictures that another one followed",
    ):
        read = trajectory_of(messages)
    assert read is not None and summary(read) == [(None, None, "look()"), (png(2), None, "click()")]


def test_a_conversation_in_which_nothing_is_done_is_none():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trajectory_of([HumanMessage("Hi"), AIMessage("Hello.")]) is None
    with pytest.raises(InvalidItemError, match=r"'Hi' is no message. Pass LangChain's messages"):
        trajectory_of(["Hi"])
    with pytest.raises(InvalidItemError, match=r"does not exist. Pass a file or a folder"):
        read_trajectories(["gone"], "messages")
