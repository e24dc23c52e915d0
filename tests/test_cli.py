"""The command line, in process with a tiny model; and once as a program, for its exit code and standard error."""

import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.processes import run
from helpers.saved import save_roomy, save_tiny
from helpers.server_process import server_process
from typer.testing import CliRunner

import comem_memory
from comem_memory import ContinuousMemory, mini, opening
from comem_memory.cli import app as cli
from comem_memory.errors import (
    ComemError,
    EncoderMismatchError,
    InvalidItemError,
    ItemTooLongError,
    ModelError,
    QueryError,
    StoreLocationError,
)
from comem_memory.evaluation.comparison import SOURCES
from comem_memory.mini import minilm_directory
from comem_memory.retrieval import RetrievalKey
from comem_memory.server.tokens import new_token
from comem_memory.testing import tiny_key, tiny_picture

Comem = Callable[..., str]


@pytest.fixture
def comem(folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Comem:
    """Runs a command and returns what it prints; its errors are raised."""
    for name, value in zip(("COMEM_MODEL", "COMEM_ADAPTER"), folders, strict=True):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("COMEM_DIRECTORY", str(tmp_path / "memory"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(opening, "default_key", tiny_key)
    monkeypatch.setattr(cli.console, "_width", 200)

    def call(*arguments: object, stdin: str | None = None) -> str:
        result = CliRunner().invoke(cli.app, [str(a) for a in arguments], input=stdin, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    tiny_picture(1).save(tmp_path / "cat.png")
    items = [
        {"id": "door", "text": "The blue door opens with the brass key.", "metadata": {"year": 2020}},
        {"id": "cat", "text": "The cat [/b] sleeps :smile:", "image": "cat.png"},
    ]
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(json.dumps(item) for item in items) + "\n\nA plain line.\n")
    return path


def test_a_life(comem: Comem, jsonl: Path, tmp_path: Path):
    added = json.loads(comem("add", jsonl, "--json"))
    assert (added["ids"][:2], added["count"]) == (["door", "cat"], 3)
    assert "3 items given, 3 in namespace 'default'." in comem("add", jsonl)

    [hit] = json.loads(comem("search", "the blue door", "-k", 1, "--json"))
    assert (hit["id"], hit["metadata"], hit["image"], hit["truncated"]) == ("door", {"year": 2020}, None, False)
    assert 0.5 < hit["similarity"] <= 1
    assert hit["created_at"]
    [hit] = json.loads(comem("search", "--image", tmp_path / "cat.png", "-k", 1, "--json"))
    assert (hit["id"], hit["image"]) == ("cat", str(tmp_path / "cat.png"))
    table = comem("search", "cat", "-i", tmp_path / "cat.png")
    assert re.search(r"│ (\d.\d{3}) = \d.\d{3} text \+ \d.\d{3} picture │ cat ", table)
    assert "The cat [/b] sleeps :smile:" in table, "texts are shown as they are"

    answer = json.loads(comem("ask", "Which key?", "-k", 2, "--json"))
    assert (len(answer["hits"]), answer["prompt_tokens"] > 16) == (2, True)
    assert comem("ask", "Which key?", "-k", 2).strip() == answer["answer"]
    bare = json.loads(comem("ask", "Which key?", "--mode", "none", "--json"))
    assert bare["hits"] == []
    assert bare["prompt_tokens"] == answer["prompt_tokens"] - 16

    described = json.loads(comem("describe", "door", "--json"))
    assert described["text"] == "The blue door opens with the brass key."
    assert "stored    The cat [/b] sleeps :smile:\nrestated  " in comem("describe", "cat")

    stats = json.loads(comem("stats", "--json"))
    assert (stats["namespace"], stats["items"], stats["namespaces"]) == ("default", 3, {"default": 3})
    assert stats["retrieval_key"] == tiny_key().name and stats["encoder"] in comem("stats")

    assert "3 items written to" in comem("export", tmp_path / "export")
    assert "3 items read from" in comem("--namespace", "bob", "import", tmp_path / "export")
    assert json.loads(comem("stats", "--json"))["namespaces"] == {"bob": 3, "default": 3}
    assert json.loads(comem("delete", "door", "nothing", "--json")) == {"deleted": 1, "count": 2}
    assert "0 deleted, 3 left." in comem("-n", "bob", "delete", "nothing")
    assert "2 items in namespace 'default'." in comem("reencode")


def test_of_an_item_of_several_parts_they_are_counted(comem: Comem, tmp_path: Path):
    for seed in (1, 2):
        tiny_picture(seed).save(tmp_path / f"{seed}.png")
    parts = [
        {"type": "image", "image": "1.png"},
        {"type": "text", "text": "Click."},
        {"type": "image", "image": "2.png"},
    ]
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps({"id": "steps", "text": "Return a lamp", "content": parts}))
    comem("add", path)

    def told() -> list[list[str]]:
        shown = [json.loads(comem("list", "--json"))["items"], json.loads(comem("search", "lamp", "--json"))]
        for call in (("list",), ("search", "lamp")):
            assert "1 text, 2 pictures" in comem(*call) and "Return a lamp" in comem(*call)
        return [[part.get("text") or part["image"] for part in item["content"]] for [item] in shown]

    for first, said, second in told():
        assert said == "Click." and Path(first).is_file() and Path(second).is_file()
    with server_process(tmp_path / "memory") as server:
        for first, said, second in told():
            assert said == "Click." and first.startswith(f"{server.url}/v1/pictures?") and second.endswith("part=2")


def test_commands_use_the_server_that_has_the_directory_open(
    comem: Comem, jsonl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    announcement = tmp_path / "memory" / "server.json"
    with server_process(tmp_path / "memory") as server:
        url = server.url
        assert announcement.stat().st_mode & 0o777 == 0o600
        added = json.loads(comem("add", jsonl, "--json"))
        assert (added["ids"][:2], added["count"]) == (["door", "cat"], 3)
        with pytest.warns(UserWarning, match=f"^--key, --reranker changes nothing here: the server at {url} has its"):
            comem("--key", "elsewhere", "--reranker", "late-interaction", "stats")
        [hit] = json.loads(comem("search", "--image", tmp_path / "cat.png", "-k", 1, "--json"))
        assert hit["id"] == "cat" and hit["image"].startswith(f"{url}/v1/pictures?")
        asked = ("ask", "Which key?", "-k", 2)
        answer = json.loads(comem(*asked, "--json"))
        assert len(answer["hits"]) == 2 and comem(*asked).strip() == answer["answer"]
        assert "stored    The cat [/b] sleeps :smile:\nrestated  " in comem("describe", "cat")
        assert json.loads(comem("delete", "cat", "--json")) == {"deleted": 1, "count": 2}
        served = json.loads(comem("stats", "--json"))
        assert (served["items"], served["namespaces"]) == (2, {"default": 2})
        monkeypatch.setenv("COMEM_DIRECTORY", str(tmp_path / "elsewhere"))
        assert json.loads(comem("--url", url, "stats", "--json")) == served
        assert not (tmp_path / "elsewhere").exists()
        monkeypatch.setenv("COMEM_DIRECTORY", str(tmp_path / "memory"))
        stale = announcement.read_text()
        server.signal(signal.SIGTERM)
        server.ended()
    assert not announcement.exists()
    announcement.write_text(stale)  # as a server leaves it that is killed
    opened = json.loads(comem("stats", "--json"))
    assert opened["namespaces"] == {"default": 2}


def test_what_needs_no_model_loads_none(comem: Comem, jsonl: Path, tmp_path: Path):
    script = """
import json, sys
from comem_memory.cli.app import app
import comem_memory.cli
for command in ("stats", "list", "history cat", "namespaces", "delete door", "config", "clear --yes"):
    app([*command.split(), "--json"], standalone_mode=False)
print(json.dumps(sorted({"torch", "transformers"} & set(sys.modules))))
"""
    for within in (nullcontext(), server_process(tmp_path / "memory")):
        comem("add", jsonl)
        with within:
            told = [json.loads(line) for line in run(script).splitlines()]
        stats, listed, history, namespaces, deleted, config, cleared, loaded = told
        assert stats["namespaces"] == namespaces == {"default": 3} and loaded == []
        assert [item["text"] for item in listed["items"]][:2] == ["A plain line.", "The cat [/b] sleeps :smile:"]
        assert [item["id"] for item in history] == ["cat"]
        assert deleted == {"deleted": 1, "count": 2} and cleared == {"deleted": 2}
        assert ("server.json" in config["url"]["source"]) == (not isinstance(within, nullcontext))


def test_items_are_listed_newest_first_in_pages(comem: Comem, tmp_path: Path):
    lines = [{"id": f"{n}", "text": f"Note {n}.", "metadata": {"even": n % 2 == 0}} for n in range(5)]
    (tmp_path / "notes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    comem("add", tmp_path / "notes.jsonl")

    def page(*options: object) -> list[str]:
        return [item["id"] for item in json.loads(comem("list", *options, "--json"))["items"]]

    assert page() == ["4", "3", "2", "1", "0"] and page("--limit", 2, "--offset", 2) == ["2", "1"]
    assert page("--where", '{"even": true}') == ["4", "2", "0"]
    shown = comem("list", "--limit", 2)
    assert "Note 4." in shown and "2 of 5 items in namespace 'default'. Older ones: --offset 2" in shown
    assert "Older" not in comem("list", "--limit", 2, "--offset", 3)


def test_filters_choose_what_is_found_asked_deleted_and_exported(comem: Comem, jsonl: Path, tmp_path: Path):
    comem("add", jsonl)
    new = ("--where", '{"year": {"$gte": 2020}}')
    found = json.loads(comem("search", "cat", "-k", 9, *new, "--json"))
    assert [hit["id"] for hit in found] == ["door"]
    assert len(json.loads(comem("ask", "Which key?", "-k", 9, *new, "--json"))["hits"]) == 1
    assert json.loads(comem("export", tmp_path / "new", *new, "--json")) == {"exported": 1}
    assert json.loads(comem("delete", "cat", *new, "--json")) == {"deleted": 0, "count": 3}
    assert json.loads(comem("delete", *new, "--json")) == {"deleted": 1, "count": 2}


def test_a_text_in_passages_is_one_item(comem: Comem, tmp_path: Path):
    added = comem("add", "-", "--passages", "--json", stdin="Elm House is old. It is red.")
    assert json.loads(added)["count"] == 1
    comem("export", tmp_path / "export")
    [line] = (tmp_path / "export" / "items.jsonl").read_text().splitlines()
    assert json.loads(line)["passages"] == ["Elm House is old.", "Elm House is old. It is red."]


def test_runs_of_agents_and_several_sources_are_added(comem: Comem, tmp_path: Path):
    acted = {"role": "assistant", "tool_calls": [{"function": {"name": "click", "arguments": '{"x": 3}'}}]}
    for name in ("lamp", "desk"):
        run = [{"role": "user", "content": f"Buy a {name}"}, acted, {"role": "assistant", "content": "Done."}]
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    (tmp_path / "note.txt").write_text("A note.")
    (tmp_path / "other.json").write_text("[]")
    with pytest.warns(UserWarning, match=r"other.json is left out: the agent called no tool and saw no picture"):
        comem("add", "--format", "messages", *(tmp_path / f"{name}.json" for name in ("lamp", "desk", "other")))
    assert json.loads(comem("add", tmp_path / "note.txt", tmp_path / "note.txt", "--json"))["count"] == 3
    items = json.loads(comem("list", "--json"))["items"]
    assert {item["text"]: item["metadata"].get("outcome") for item in items} == {
        "Buy a lamp": "success",
        "Buy a desk": "success",
        "A note.": None,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "a", "--where", "{a"], "Invalid value for '--where': '{a' is no JSON"),
        (["list", "--where", '{"a": {"$near": 1}}'], "The filter cannot be understood at {'$near': 1}"),
        (["delete"], "Pass ids or --where. To delete everything in a namespace: comem clear."),
        (["add", "notes.md", "--size", "100"], "Pass --split heading or --split size."),
        (["add", "runs", "--format", "messages", "--split", "size"], "Leave out --ray, --split and --page-pictures."),
        (["add", "a.txt", "b.txt", "--ray", "shards"], "--ray takes one source."),
        (["add", "a.txt", "--passages", "--ray", "shards"], "Leave out --passages"),
    ],
)
def test_what_is_wrong_with_options_is_said_before_anything_is_opened(arguments: list[str], message: str):
    done = CliRunner().invoke(cli.app, ["--model", "no/such-model", "-d", "/nowhere", *arguments])
    assert done.exit_code == 2 and message in " ".join(done.output.replace("│", " ").split())


def test_everything_of_a_namespace_is_cleared_when_it_is_wanted(comem: Comem, jsonl: Path):
    comem("add", jsonl)
    comem("add", "-", stdin='{"id": "new", "text": "The green door.", "supersedes": "door"}')
    assert [item["superseded_by"] for item in json.loads(comem("history", "door", "--json"))] == ["new", None]
    assert "The green door." in comem("history", "new")
    comem("-n", "bob", "add", jsonl)
    refused = CliRunner().invoke(cli.app, ["clear"], input="n\n")
    assert refused.exit_code == 1 and "Delete all 3 items of namespace 'default'? [y/N]" in refused.output
    assert json.loads(comem("namespaces", "--json")) == {"bob": 3, "default": 3}
    assert "4 deleted" in comem("clear", stdin="y\n"), "what was superseded goes too"
    assert json.loads(comem("namespaces", "--json")) == {"bob": 3}
    assert "bob" in comem("namespaces") and json.loads(comem("clear", "--yes", "--json")) == {"deleted": 0}


@pytest.mark.parametrize("is_served", [False, True])
def test_what_becomes_of_earlier_versions_is_told(comem: Comem, jsonl: Path, tmp_path: Path, is_served: bool):
    with server_process(tmp_path / "memory") if is_served else nullcontext():
        comem("add", jsonl)
        for id, old in (("green", "door"), ("red", "green"), ("dog", "cat")):
            comem("add", "-", stdin=json.dumps({"id": id, "text": f"Now {id}.", "supersedes": old}))
        assert comem("delete", "red", "nothing").splitlines() == [
            "1 deleted, 2 left.",
            "2 earlier versions stay in history, recalled no more. To delete them too: comem delete door green",
        ]
        told = "2 deleted, 2 of them in history and recalled no more, 2 left."
        assert comem("delete", "door", "green").splitlines() == [told]
        told = "2 deleted, 1 of them in history and recalled no more, 1 left."
        assert comem("delete", "dog", "cat").splitlines() == [told], "an item and all that it took the place of"
        assert json.loads(comem("delete", "cat", "--json")) == {"deleted": 0, "count": 1}


@pytest.mark.parametrize(
    "arguments",
    [
        *(["search", "a"], ["ask", "a"], ["list"], ["namespaces"], ["stats"], ["describe", "a"], ["delete", "a"]),
        ["history", "a"],
        *(["clear", "--yes"], ["export", "new"], ["reencode"], ["rekey"], ["vacuum"], ["backup", "new"]),
    ],
    ids=" ".join,
)
def test_what_reads_makes_no_directory(comem: Comem, tmp_path: Path, arguments: list[str]):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "comem.json").write_text('{"format_version": 1}')
    with pytest.raises(StoreLocationError, match=f"There is no memory in {tmp_path}/note. {tmp_path}/notes holds one."):
        comem("-d", tmp_path / "note", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_settings_are_told_with_where_they_come_from(comem: Comem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("COMEM_SERVER_TOKEN", "sesame")
    monkeypatch.setenv("COMEM_SERVER_HEADER", "X-Key:sesame")
    monkeypatch.delenv("COMEM_ADAPTER")
    monkeypatch.delenv("COMEM_MODEL")
    shown = comem("--server", "http://ada:sesame@localhost:8000", "config", "--json")
    assert "sesame" not in shown and "sesame" not in comem("config")
    told = {name: tuple(one.values()) for name, one in json.loads(shown).items()}
    assert told["directory"] == (str(tmp_path / "memory"), "COMEM_DIRECTORY")
    assert told["server"] == ("http://(hidden)@localhost:8000", "option")
    assert told["server_token"] == ("(hidden)", "COMEM_SERVER_TOKEN")
    assert told["server_header"] == (["X-Key:(hidden)"], "COMEM_SERVER_HEADER")
    assert told["model"] == (mini.NAME, "default") and told["key"] == (opening.DEFAULT_KEY, "default")
    assert not (tmp_path / "memory").exists()


def test_shells_complete_commands_and_options(tmp_path: Path):
    def completed(words: str, at: int) -> list[str]:
        asked = {"_COMEM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        done = subprocess.run(
            [sys.executable, "-X", "importtime", Path(sys.executable).with_name("comem")],
            capture_output=True,
            text=True,
            env=os.environ | asked,
            check=False,
        )
        assert "typer" in done.stderr and not {" torch", " chromadb", " PIL"} & {
            line.rpartition("|")[2].rstrip() for line in done.stderr.splitlines()
        }
        return done.stdout.split()

    assert completed("comem nam", 1) == ["namespaces"]
    assert completed("comem add --split ", 3) == ["heading", "size"]


def test_shells_complete_ids_of_the_memory_that_is_named(comem: Comem, jsonl: Path, tmp_path: Path):
    def completed(*words: object) -> list[str]:
        line = " ".join(map(str, ("comem", *words)))
        asked = {"_COMEM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        result = CliRunner().invoke(cli.app, [], env=asked, prog_name="comem", catch_exceptions=False)
        assert not result.stderr
        return result.stdout.split()

    elsewhere, none = tmp_path / "elsewhere", tmp_path / "none"
    comem("-d", elsewhere, "add", jsonl)
    comem("-d", elsewhere, "-n", "ada", "add", "-", stdin='{"id": "desk", "text": "A desk."}')
    assert completed("-d", elsewhere, "delete", "d") == ["door"]
    assert {"cat", "door"} <= {*completed("-d", elsewhere, "delete", "cat", "")}
    assert completed("-d", elsewhere, "-n", "ada", "history", "") == ["desk"]
    assert completed("describe", "d") == []  # COMEM_DIRECTORY holds no memory yet
    assert completed("-d", none, "delete", "d") == [] and not none.exists()
    with server_process(tmp_path / "served") as server:
        comem("--url", server.url, "add", jsonl)
        assert completed("-d", tmp_path / "served", "describe", "d") == ["door"]
    assert not (tmp_path / "memory").exists()


def test_stats_of_a_token(comem: Comem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "tokens.json"
    monkeypatch.setenv("COMEM_TOKEN", new_token(file, name="ada", namespaces=["ada"], writes=True))
    with server_process(tmp_path / "served", tokens=file) as server:
        monkeypatch.setenv("COMEM_URL", server.url)
        (tmp_path / "notes.txt").write_text("Ada drinks green tea.\n")
        comem("add", tmp_path / "notes.txt")
        told = json.loads(comem("stats", "--json"))
    assert (told["namespace"], told["items"], told["namespaces"]) == ("ada", 1, {"ada": 1})


def test_environment_variables_and_options(comem: Comem, jsonl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COMEM_NAMESPACE", "ann")
    comem("add", jsonl)
    assert json.loads(comem("stats", "--json"))["namespaces"] == {"ann": 3}
    assert json.loads(comem("-n", "eve", "stats", "--json"))["items"] == 0
    with pytest.raises(
        StoreLocationError, match=f"There is no memory in {tmp_path}/other. {tmp_path}/memory holds one"
    ):
        comem("-d", tmp_path / "other", "stats")


def test_another_adapter_is_refused_until_reencode(comem: Comem, jsonl: Path, tmp_path: Path):
    comem("add", jsonl)
    base, adapter = save_tiny(tmp_path / "new", seed=4)
    new = ("--model", base, "--adapter", adapter)
    with pytest.raises(EncoderMismatchError, match="reencode"):
        comem(*new, "search", "the blue door")
    assert "3 items" in comem(*new, "reencode")
    assert json.loads(comem(*new, "search", "the blue door", "-k", 1, "--json"))[0]["id"] == "door"


def test_items_are_found_with_the_model_that_is_named(comem: Comem, jsonl: Path, folders: tuple[Path, Path]):
    comem("add", jsonl)
    with pytest.raises(ModelError, match="it is a llava model without modules.json"):
        comem("--key", folders[0], "search", "the blue door")
    with pytest.raises(EncoderMismatchError, match="with the retrieval key that wrote it .*`comem rekey`"):
        comem("--key", minilm_directory(), "search", "the blue door")
    assert "3 items" in comem("--key", "all-MiniLM-L6-v2", "rekey")
    assert "sentence-transformers" in json.loads(comem("--key", minilm_directory(), "stats", "--json"))["retrieval_key"]


def test_rekey_makes_the_keys_of_the_same_model_anew_once(comem: Comem, jsonl: Path, monkeypatch: pytest.MonkeyPatch):
    comem("add", jsonl)
    real, given = RetrievalKey.item_keys, 0

    def counted(key: RetrievalKey, texts: Any, *others: Any) -> Any:
        nonlocal given
        given += len(texts)
        return real(key, texts, *others)

    monkeypatch.setattr(RetrievalKey, "item_keys", counted)
    assert "3 items" in comem("rekey") and given == 3
    given = 0
    assert "3 items" in comem("--key", "all-MiniLM-L6-v2", "rekey") and given == 3


def test_standard_input(comem: Comem):
    assert json.loads(comem("add", "-", "--json", stdin='{"text": "b", "id": "b"}\nA plain line.\n'))["count"] == 2
    assert json.loads(comem("add", "-", "--json", stdin="A text\n\nof two paragraphs.\n"))["count"] == 3
    found = json.loads(comem("list", "--json"))["items"]
    assert [item["text"] for item in found] == ["A text\n\nof two paragraphs.", "A plain line.", "b"]


def test_times_and_what_is_superseded(comem: Comem, tmp_path: Path):
    paris = {"id": "paris", "text": "Ann lives in Paris.", "said_at": "2026-05-03T18:30:00+02:00"}
    rome = {"id": "rome", "text": "Ann lives in Rome.", "supersedes": "paris", "expires": "P30D"}
    (tmp_path / "notes.jsonl").write_text(f"{json.dumps(paris)}\n{json.dumps(rome)}\n")
    assert json.loads(comem("add", tmp_path / "notes.jsonl", "--json"))["count"] == 1
    [hit] = json.loads(comem("search", "Ann", "--json"))
    assert (hit["id"], hit["supersedes"], hit["superseded_by"], hit["said_at"]) == ("rome", ["paris"], None, None)
    assert hit["created_at"] == hit["updated_at"] < hit["expires"]
    (tmp_path / "naive.jsonl").write_text('{"text": "a", "said_at": "2026-05-03"}')
    with pytest.raises(InvalidItemError, match=r"naive.jsonl, line 1: .* no moment with a timezone"):
        comem("add", tmp_path / "naive.jsonl")


def test_a_text_is_one_item_or_one_a_piece(comem: Comem, tmp_path: Path):
    (tmp_path / "long.md").write_text(
        "# Doors\n\n" + "The blue door opens with the brass key. " * 30 + "\n# Keys\nBrass."
    )
    with pytest.raises(ItemTooLongError, match=r"comem add --split size, --truncate"):
        comem("add", tmp_path / "long.md")
    assert json.loads(comem("add", tmp_path / "long.md", "--split", "heading", "--size", 300, "--json"))["count"] > 3
    [newest, *_] = json.loads(comem("list", "--json"))["items"]
    assert newest["text"] == "# Keys\nBrass."
    assert newest["metadata"] == {"source": str(tmp_path / "long.md"), "headings": ["Keys"]}
    assert len(json.loads(comem("-n", "cut", "add", tmp_path / "long.md", "--truncate", "--json"))["ids"]) == 1


def test_pictures_with_captions(comem: Comem, tmp_path: Path):
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    tiny_picture(1).save(folder / "a.png")
    (folder / "a.txt").write_text("A caption\nof two lines.\n")
    tiny_picture(2).save(folder / "deep" / "B.JPG")
    (folder / "deep" / "B.txt").write_text("Upper case.")
    tiny_picture(3).save(folder / "bare.webp")
    (folder / "a.jsonl").write_text('{"id": "beside", "text": "Not a caption."}\n')
    (folder / "notes.md").write_text("One.\nTwo.\n")
    (folder / "thesis.tex").write_bytes(b"ignored")
    (folder / "IMG_1.HEIC").write_bytes(b"from a telephone")
    (folder / "IMG_1.txt").write_text("The caption of a picture that is left out.")
    with pytest.warns(UserWarning, match=r"Left out of .*: 1 .heic, 1 .tex \(IMG_1.HEIC, thesis.tex\)\. Nothing"):
        assert json.loads(comem("add", folder, "--json"))["count"] == 5
    hits = json.loads(comem("search", "a", "-k", 9, "--json"))
    found = {hit["text"]: hit for hit in hits}
    assert set(found) == {"A caption\nof two lines.", "Upper case.", None, "Not a caption.", "One.\nTwo."}
    assert found["Upper case."]["image"].endswith("B.JPG")
    assert found["Upper case."]["metadata"] == {"source": str(folder / "deep" / "B.JPG")}
    assert len(json.loads(comem("-n", "one", "add", folder / "a.png", "--json"))["ids"]) == 1
    assert json.loads(comem("-n", "one", "search", "caption", "--json"))[0]["text"] == "A caption\nof two lines."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search"], "nothing to search for"),
        (["search", "a", "-k", "0"], "k is 0"),
        (["describe", "nothing"], "holds no item 'nothing'"),
        (["import", "nowhere"], "not a finished export"),
        (["--server", "http://127.0.0.1:9", "stats"], "chroma run"),
        (["-n", "", "stats"], "no control characters"),
        (["--model", "no/such-model", "train", "runs", "--no-pictures"], "'no/such-model' cannot be loaded"),
    ],
)
def test_errors_are_typed(comem: Comem, jsonl: Path, arguments: list[str], message: str):
    comem("add", jsonl)
    with pytest.raises(ComemError, match=message):
        comem(*arguments)


def test_an_unknown_mode_is_refused_before_the_model_loads():
    done = CliRunner().invoke(cli.app, ["--model", "no/such-model", "ask", "a", "--mode", "magic"])
    assert done.exit_code == 2
    assert "'magic' is not one of 'memory', 'text', 'both', 'none'" in " ".join(done.output.replace("│", " ").split())


def test_an_error_is_one_line_and_exit_code_one(comem: Comem, tmp_path: Path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "[bold]thesis.tex").write_text("precious")
    command = [Path(sys.executable).with_name("comem"), "stats"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "40"}, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = [line for line in done.stderr.splitlines() if "Warning" not in line and not line.startswith("  ")]
    assert line.startswith("error: ")
    assert line.endswith("Pass an empty or new directory.")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_character_that_the_output_lacks_is_replaced(comem: Comem, monkeypatch: pytest.MonkeyPatch, encoding: str):
    text = "Żółw ☃ 🙂"
    comem("add", "-", stdin=json.dumps({"text": text, "id": "żółw"}))

    def printed(*arguments: str) -> str:
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
        monkeypatch.setattr(sys, "argv", ["comem", *arguments])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        assert exit.value.code in (0, None)
        return written.getvalue().decode(encoding)

    assert f"stored    {text.encode(encoding, 'replace').decode(encoding)}\n" in printed("describe", "żółw")
    assert text.encode(encoding, "replace").decode(encoding) in printed("search", "turtle")
    assert "encoder" in printed("stats")
    assert "--directory" in printed("--help")
    [hit] = json.loads(printed("search", "turtle", "--json"))
    assert (hit["id"], hit["text"]) == ("żółw", text)


def test_main_puts_an_error_on_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Any):
    def fails() -> None:
        raise QueryError("two\n  lines [bold]of[/bold] text")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: two lines [bold]of[/bold] text\n"


def test_what_nobody_expected_is_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: Any):
    def fails() -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err.startswith("error: KeyError: 'a defect'. This is a defect of comem-memory")
    monkeypatch.setenv("COMEM_TRACEBACK", "1")
    with pytest.raises(KeyError):
        cli.main()


def test_a_warning_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # as it was, when the test ends
    monkeypatch.setattr(cli, "app", lambda: warnings.warn("Files are left out.", stacklevel=1))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", lambda *said: sys.stderr.write(warnings.formatwarning(*said)))
        cli.main()
    assert capsys.readouterr().err == "warning: Files are left out.\n"


def test_a_missing_library_is_named_with_the_extra(comem: Comem, tmp_path: Path, monkeypatch: Any, capsys: Any):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setattr(sys, "argv", ["comem", "report", str(tmp_path / "report")])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "matplotlib" in line and "pip install 'comem-memory[notebooks]'" in line
    assert not (tmp_path / "report").exists()
    monkeypatch.setattr(cli, "app", lambda: import_module("no_such.module"))
    with pytest.raises(SystemExit):
        cli.main()
    said = "error: No module named 'no_such'. Install the package that has the module no_such.\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("arguments", "how"),
    [
        (["add", "notes.jsonl"], "what is done is kept, and the same command goes on from there"),
        (["add", "-"], "what is done is kept, and the same command goes on if it is given the same input again"),
        (["train", "new"], "what was done up to the last checkpoint is kept, and the same command goes on from there"),
        (["backup", "new"], "nothing was changed; the same command begins again"),
    ],
)
def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], how: str):
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.jsonl").write_text("A note.")
    for module, name in (("items", "reach_memory"), ("train", "load_backbone"), ("upkeep", "_open_store")):
        monkeypatch.setattr(import_module(f"comem_memory.cli.{module}"), name, stopped)
    result = CliRunner().invoke(cli.app, arguments, input="A note.")
    assert (result.exit_code, result.stderr) == (130, f"\nstopped: {how}.\n")


def test_a_gpu_that_is_too_small_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Any):
    def fails() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total ...")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert said.startswith("error: CUDA out of memory. docs/guides/precision.md") and "--gradient-checkpointing" in said


def test_ask_prints_while_the_model_writes(comem: Comem, jsonl: Path, monkeypatch: pytest.MonkeyPatch):
    comem("add", jsonl)
    printed: list[str] = []
    monkeypatch.setattr(cli.console, "print", lambda *pieces, **_: printed.extend(pieces))
    monkeypatch.setattr(ContinuousMemory, "stream", lambda *_, **__: (f"{n} {len(printed)}, " for n in range(3)))
    comem("ask", "Which key?")
    assert printed == ["0 0, ", "1 1, ", "2 2, "]


def test_help_reads_well():
    result = CliRunner().invoke(cli.app, ["--help"], env={"COLUMNS": "100"})
    for word in ("add", "search", "ask", "describe", "delete", "stats", "export", "import", "COMEM_DIRECTORY"):
        assert word in result.stdout
    for command in cli.app.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")  # type: ignore[union-attr]
        shown = CliRunner().invoke(cli.app, [name, "--help"], env={"COLUMNS": "100"})
        assert shown.exit_code == 0
        assert "Usage:" in shown.stdout


def test_the_page_of_commands_says_what_they_say():
    script = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "command_line.py"))
    assert script["PAGE"].read_text(encoding="utf-8") == script["page"](), "python docs/command_line.py writes it anew"


def test_the_version_is_told_without_a_memory(tmp_path: Path):
    command = [Path(sys.executable).with_name("comem"), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == f"comem-memory {comem_memory.__version__}\n"
    assert not list(tmp_path.iterdir())


def test_evaluate(comem: Comem, tmp_path: Path):
    base, adapter = save_roomy(tmp_path / "roomy")
    chosen = ("--model", base, "--adapter", adapter)
    report = json.loads(comem(*chosen, "evaluate", "--limit", 3, "--json").splitlines()[-1])
    assert report["n"] == 3
    assert tuple(report["scores"]) == SOURCES
    table = comem(*chosen, "evaluate", "--limit", 2, "--facts", 1, "--sources", "text, memory and text")
    said = " ".join(table.split())
    assert "memory and text" in said
    assert "shuffled memory and text" in said  # its control, which is never left out
    assert "shuffled memory " not in said.replace("shuffled memory and text", "")
    assert "2 questions" in said
