"""The page in a real Chromium, from a real server in a process of its own: `make test-ui`."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from helpers.pdf import write_pdf
from helpers.server_process import ServerProcess, server_process
from playwright.sync_api import Page, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from comem_memory.files import as_png
from comem_memory.server.tokens import new_token
from comem_memory.testing import tiny_picture, tiny_sound

Visit = Callable[[str], Page]
HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tokens by whose they are, and the file that knows them."""
    file = tmp_path_factory.mktemp("tokens") / "tokens.json"
    made = {"file": str(file), "admin": new_token(file, name="admin", namespaces=None, writes=True)}
    for name in ("ada", "bob", "eve"):
        made[name] = new_token(file, name=name, namespaces=[name], writes=True)
    made["reader"] = new_token(file, name="reader", namespaces=["ada"], writes=False)
    return made


@pytest.fixture(scope="module")
def server(tokens: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server_process(tmp_path_factory.mktemp("memory"), ui=True, tokens=tokens["file"]) as running:
        yield running


@pytest.fixture
def stored(server: ServerProcess, tokens: dict[str, str]) -> Iterator[Callable[..., None]]:
    """Stores texts or items in a namespace, which is cleared in the end."""

    def post(path: str, namespace: str, content: object) -> None:
        headers = {"Authorization": f"Bearer {tokens['admin']}"}
        url = f"{server.url}/v1/items{path}?namespace={namespace}"
        assert httpx.post(url, json=content, headers=headers, timeout=120).status_code == 200

    def store(namespace: str, *items: str | dict[str, object]) -> None:
        sent = [{"text": item} if isinstance(item, str) else item for item in items]
        for start in range(0, len(sent), 250):
            post("", namespace, {"items": sent[start : start + 250]})

    yield store
    for namespace in ("ada", "bob", "eve"):
        post("/clear", namespace, {})


def link(server: ServerProcess, token: str) -> str:
    return f"{server.url}/ui/login?token={token}"


def cards(page: Page) -> list[str]:
    return page.locator(".item .text").all_inner_texts()


def open_adding(page: Page) -> None:
    """Opens the sheet that adds; files that are set before it is there may be lost."""
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_label("Text")).to_be_visible()


def test_an_item_is_added_found_described_changed_and_deleted(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None]
):
    stored("ada", "Lunch is at noon.")
    page = visit(link(server, tokens["ada"]))
    open_adding(page)
    page.get_by_label("Text").fill("The blue door opens with the brass key.")
    page.get_by_label("Metadata, as JSON").fill('{"room": "hall"}')
    page.get_by_role("button", name="Add").last.click()
    expect(page.locator(".item")).to_have_count(2)
    assert cards(page)[0] == "The blue door opens with the brass key."  # the newest first
    expect(page.locator(".fact")).to_have_text("room: hall")

    page.get_by_label("Search", exact=True).press_sequentially("blue door")
    expect(page.locator(".item").first.locator(".found")).to_have_text(["blue", "door"])
    assert float(page.locator(".number").first.inner_text()) > 0
    expect(page.locator(".why").first).to_contain_text("by meaning")

    page.locator(".item").first.click()
    page.get_by_role("button", name="What its vectors say").click()
    expect(page.locator(".said .text")).to_have_count(2)
    expect(page.locator(".said .text").first).to_have_text("The blue door opens with the brass key.")
    expect(page.locator(".said .lost").first).to_be_visible()  # an untrained model restates nothing of it

    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Text").fill("The blue door is painted red.")
    page.get_by_label("Metadata, as JSON").fill("no JSON")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The metadata is no JSON")).to_be_visible()
    page.get_by_label("Metadata, as JSON").fill('{"room": "attic", "floor": 2}')
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".sheet .table")).to_contain_text("attic")
    expect(page.locator(".item").first).to_contain_text("painted red")

    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_role("button", name="Keep")).to_have_count(0)
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("button", name="Keep")).to_be_visible()  # else the last one is still the sheet's own
    page.get_by_role("button", name="Delete").last.click()
    expect(page.get_by_text("painted red")).to_have_count(0)
    assert _texts(server, tokens["admin"], "ada") == ["Lunch is at noon."]


def test_a_picture_that_is_searched_with_is_shown_until_it_is_taken_away(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None]
):
    picture = as_png(tiny_picture(1))
    stored("ada", {"text": "The door.", "image": _base64(picture)}, "Lunch is at noon.")
    page = visit(link(server, tokens["ada"]))
    page.get_by_label("Search", exact=True).fill("door")
    number, seen = page.locator(".number").first, page.get_by_alt_text("The picture that is searched with")
    expect(number).to_have_text(re.compile(r"^\S+$"))
    expect(seen).to_be_hidden()
    with page.expect_file_chooser() as chosen:
        page.get_by_label("Search by a picture").click()
    chosen.value.set_files({"name": "door.png", "mimeType": "image/png", "buffer": picture})
    expect(number).to_have_text(re.compile(r"^\S+ = \S+ text \+ \S+ picture$"))
    assert seen.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    expect(page.locator(".note").first).to_contain_text("Text and picture share a similarity")
    page.get_by_label("Search without the picture").click()
    expect(number).to_have_text(re.compile(r"^\S+$"))
    expect(seen).to_be_hidden()
    page.get_by_label("Search", exact=True).fill("")
    expect(page.locator(".note").first).to_have_text("1 to 2 of 2")
    expect(page.locator(".number")).to_have_count(0)


def test_what_is_like_nothing_that_is_searched_for_is_not_listed(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None]
):
    picture = as_png(tiny_picture(1))
    stored("ada", {"text": "The door.", "image": _base64(picture)}, "Lunch is at noon.")
    page = visit(link(server, tokens["ada"]))
    expect(page.locator(".item")).to_have_count(2)
    with page.expect_file_chooser() as chosen:
        page.get_by_label("Search by a picture").click()
    chosen.value.set_files({"name": "door.png", "mimeType": "image/png", "buffer": picture})
    expect(page.locator(".note").first).to_have_text("What has a similarity of 0.00 or less is not shown.")
    assert cards(page) == ["The door."]


def test_the_store_is_told_in_words(server: ServerProcess, tokens: dict[str, str], visit: Visit):
    page = visit(link(server, tokens["ada"]))
    page.get_by_role("tab", name="Store").click()
    table = page.locator(".table").first
    expect(table).to_contain_text(re.compile(r"reads pictures\s*(yes|no)"))
    expect(table).not_to_contain_text(re.compile("True|False|None"))


def test_an_empty_file_is_told_of(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None], tmp_path: Path
):
    page = visit(link(server, tokens["ada"]))
    open_adding(page)
    (tmp_path / "empty.txt").write_text(" \n")
    page.locator(".sheet input[type=file]").set_input_files(tmp_path / "empty.txt")
    expect(page.locator(".q-uploader__file--uploaded")).to_have_count(1)
    page.get_by_role("button", name="Add").last.click()
    expect(page.get_by_text("empty.txt holds no text, and is left out. There is nothing to add.")).to_be_visible()
    (tmp_path / "door.txt").write_text("The door.")
    page.locator(".sheet input[type=file]").set_input_files(tmp_path / "door.txt")
    expect(page.locator(".q-uploader__file--uploaded")).to_have_count(2)
    page.get_by_role("button", name="Add").last.click()
    expect(page.get_by_text("empty.txt holds no text, and is left out.", exact=True)).to_be_visible()
    assert _texts(server, tokens["admin"], "ada") == ["The door."]


def test_files_are_dropped(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None], tmp_path: Path
):
    stored("ada", "Lunch is at noon.")
    (tmp_path / "door.png").write_bytes(as_png(tiny_picture(1)))
    (tmp_path / "door.txt").write_text("The door.")
    (tmp_path / "notes.jsonl").write_text(json.dumps({"text": "A key.", "metadata": {"room": "hall"}}) + "\nA lock.\n")
    page = visit(link(server, tokens["ada"]))
    open_adding(page)
    page.locator(".sheet input[type=file]").set_input_files(list(tmp_path.iterdir()))
    expect(page.locator(".q-uploader__file--uploaded")).to_have_count(3)
    page.get_by_role("button", name="Add").last.click()
    expect(page.locator(".item")).to_have_count(4)
    assert {*cards(page)} == {"The door.", "A key.", "A lock.", "Lunch is at noon."}
    picture = page.locator(".item img")
    expect(picture).to_have_attribute("alt", "The door.")
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    expect(page.locator(".fact", has_text="source: door.png")).to_be_visible()  # and not where it lay meanwhile


def test_what_is_left_out_of_what_was_dropped_is_told(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None], tmp_path: Path
):
    stored("ada", "Lunch is at noon.")
    (tmp_path / "note.txt").write_text("The blue door.")
    (tmp_path / "thesis.tex").write_text("no kind that is read")
    (tmp_path / "bell.wav").write_bytes(tiny_sound(1))
    write_pdf(tmp_path / "scan.pdf", "The brass key.", "")
    page = visit(link(server, tokens["ada"]))
    open_adding(page)
    page.locator(".sheet input[type=file]").set_input_files(list(tmp_path.iterdir()))
    expect(page.locator(".q-uploader__file--uploaded")).to_have_count(4)
    page.get_by_role("button", name="Add").last.click()
    expect(page.get_by_text("Added 2 items.")).to_be_visible()
    for said in (
        "Left out of what was dropped: 1 .tex (thesis.tex). Nothing here reads such files",
        "Left out of what was dropped: 1 .wav (bell.wav). A recording is found by its text alone",
        "scan.pdf holds no text on page 2, which is left out",
    ):
        expect(page.get_by_text(said)).to_be_visible()
    expect(page.locator(".item")).to_have_count(3)


@pytest.mark.parametrize("written", [1, 2], ids=["at once", "later"])
def test_only_files_that_stand_in_the_list_are_added(
    server: ServerProcess,
    tokens: dict[str, str],
    visit: Visit,
    stored: Callable[..., None],
    tmp_path: Path,
    written: int,
):
    stored("ada", "Lunch is at noon.")
    files = [tmp_path / "one" / "note.txt", tmp_path / "one" / "key.txt", tmp_path / "two" / "note.txt"]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"In {file.parent.name}: {file.stem}.")
        os.utime(file, (1, 1))
    os.utime(files[2], (written, written))
    page = visit(link(server, tokens["ada"]))
    open_adding(page)
    chosen, listed = page.locator(".sheet input[type=file]"), page.locator(".q-uploader__file--uploaded")
    chosen.set_input_files(files[:2])
    expect(listed).to_have_count(2)
    chosen.set_input_files(files[2])
    expect(page.get_by_text("a file of that name already")).to_be_visible()
    expect(listed).to_have_count(2)
    listed.filter(has_text="key.txt").get_by_role("button").click()
    expect(listed).to_have_count(1)
    page.get_by_role("button", name="Add").last.click()
    expect(page.locator(".item")).to_have_count(2)
    assert {*cards(page)} == {"In one: note.", "Lunch is at noon."}


def test_more_items_than_a_request_takes_are_none(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None]
):
    page = visit(link(server, tokens["ada"]))
    open_adding(page)
    lines = "\n".join(f"Note {number}." for number in range(257)).encode()
    page.locator(".sheet input[type=file]").set_input_files(
        {"name": "notes.jsonl", "mimeType": "application/json", "buffer": lines}
    )
    expect(page.locator(".q-uploader__file--uploaded")).to_have_count(1)
    page.get_by_role("button", name="Add").last.click()
    expect(page.get_by_text("more than 256 items")).to_be_visible()
    assert _texts(server, tokens["admin"], "ada") == []


def test_a_stop_waits_for_what_the_page_does(tmp_path: Path, visit: Visit):
    with server_process(tmp_path, ui=True) as server:
        page = visit(f"{server.url}/ui/")
        page.get_by_role("tab", name="Ask").click()
        page.get_by_label("Question").fill("Which door is blue?")
        page.get_by_label("Question").press("Enter")
        page.locator(".answer").first.wait_for()
        server.signal(signal.SIGTERM)
        assert server.ended() == (0, "closed")


@pytest.mark.parametrize("part", [None, {"type": "image"}], ids=["image", "content"])
def test_a_dropped_file_names_no_picture_of_this_machine(
    server: ServerProcess,
    tokens: dict[str, str],
    visit: Visit,
    stored: Callable[..., None],
    tmp_path: Path,
    part: dict[str, str] | None,
):
    secret = tmp_path / "secret.png"
    secret.write_bytes(as_png(tiny_picture(2)))
    named = {"image": str(secret)} if part is None else {"content": ["One.", part | {"image": str(secret)}, "Two."]}
    (tmp_path / "notes.jsonl").write_text(json.dumps({"text": "Mine?"} | named))
    page = visit(link(server, tokens["ada"]))
    open_adding(page)
    page.locator(".sheet input[type=file]").set_input_files(tmp_path / "notes.jsonl")
    expect(page.locator(".q-uploader__file--uploaded")).to_have_count(1)
    page.get_by_role("button", name="Add").last.click()
    expect(page.get_by_text("was not dropped")).to_be_visible()
    assert _texts(server, tokens["admin"], "ada") == []


def test_a_question_is_answered_in_four_modes(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None]
):
    stored("ada", *(f"Door {number} is blue." for number in range(5)))
    page = visit(link(server, tokens["ada"]))
    page.get_by_role("tab", name="Ask").click()
    page.get_by_label("Question").fill("Which door is blue?")
    page.get_by_label("Question").press("Enter")
    numbers = page.locator(".answer .muted:last-child")
    expect(numbers).to_contain_text(["prompt tokens"] * 4)
    expect(numbers).to_contain_text(["first token after"] * 4)
    none, text, memory, both = (int(one.split()[0]) for one in numbers.all_inner_texts())
    assert none < min(text, memory, both)
    expect(page.locator("[role=tabpanel] .item:visible")).to_have_count(3)  # what was recalled


def test_the_map_opens_an_item_and_drift_is_seen(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None]
):
    stored(
        "ada",
        *({"text": f"Note {number}.", "metadata": {"room": "hall" if number % 2 else "attic"}} for number in range(9)),
    )
    page = visit(link(server, tokens["ada"]))
    page.get_by_role("tab", name="Map").click()
    expect(page.get_by_text("9 items by their vectors")).to_be_visible()
    canvas = page.locator(".map canvas")
    expect(canvas).to_be_visible()
    at = page.evaluate(
        "() => { const chart = getElement(document.querySelector('.map').id.slice(1)).chart;"
        "return chart.convertToPixel({seriesIndex: 0}, chart.getOption().series[0].data[0].value) }"
    )
    page.wait_for_timeout(1500)  # the points move to their places
    canvas.click(position={"x": at[0], "y": at[1]})
    expect(page.locator(".sheet .table")).to_contain_text("room")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Store").click()
    expect(page.get_by_text("9 items")).to_be_visible()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("0 of 9 items differ")).to_be_visible()


def test_namespaces_are_apart_by_token(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None]
):
    picture = {"text": "Bob's safe.", "id": "safe", "image": _base64(as_png(tiny_picture(3)))}
    stored("bob", picture)
    stored("ada", "Ada's key.")
    page = visit(link(server, tokens["ada"]))
    expect(page.locator(".item")).to_have_text(re.compile("Ada's key"))
    page.get_by_label("Search", exact=True).fill("Bob's safe")
    expect(page.locator(".why")).to_have_count(1)
    assert cards(page) == ["Ada's key."]
    page.get_by_role("tab", name="Store").click()
    expect(page.get_by_role("button", name="ada")).to_be_visible()
    expect(page.get_by_role("button", name="bob")).to_have_count(0)
    chosen = page.get_by_label("Namespace")
    chosen.fill("bob")
    chosen.press("Enter")
    expect(page.get_by_text("does not open the namespace 'bob'").first).to_be_visible()
    expect(page.get_by_text("Bob's safe.")).to_have_count(0)
    url = f"{server.url}/ui/picture?namespace=bob&id=safe"
    assert page.context.request.get(url).status == 403
    both = visit(link(server, tokens["admin"]))
    both.get_by_label("Namespace").fill("bob")
    both.get_by_label("Namespace").press("Enter")
    expect(both.locator(".item")).to_have_text(re.compile("Bob's safe"))
    seen = both.context.request.get(url)
    assert seen.status == 200 and seen.headers["vary"] == "Cookie"  # else the next session would see it in the cache


def test_who_may_only_read_changes_nothing(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None]
):
    stored("ada", "Ada's key.")
    page = visit(link(server, tokens["reader"]))
    page.locator(".item").click()
    expect(page.get_by_role("button", name="What its vectors say")).to_be_visible()
    for name in ("Add", "Edit", "Delete"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    page.evaluate(  # to every element that may take files, the sheet of adding among them, which is not shown
        "async () => { for (let id = 1; id < document.querySelector('.q-uploader').id.slice(1); id++) {"
        "const form = new FormData(); form.append('file', new Blob(['A key.']), 'key.txt');"
        "await fetch(`_nicegui/client/${window.clientId}/upload/${id}`, {method: 'POST', body: form}) } }"
    )
    expect(page.get_by_text("for reading only")).to_be_visible()


def test_an_upload_that_does_not_tell_its_length_is_cut(tmp_path: Path, visit: Visit):
    with server_process(tmp_path, ui=True, settings={"max_body_bytes": 20_000}) as server:
        page = visit(f"{server.url}/ui/")
        page.locator(".q-uploader").first.wait_for(state="attached")
        client, last = page.evaluate(
            "() => [window.clientId, Number(document.querySelector('.q-uploader').id.slice(1))]"
        )
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        url, headers = (
            f"{server.url}/ui/_nicegui/client/{client}/upload/{last}",
            {"Content-Type": "multipart/form-data; boundary=x"},
        )
        long = (head if part == 0 else b"a" * 1000 for part in range(100))
        assert httpx.post(url, content=long, headers=headers).status_code == 413


def test_a_long_text_is_cut_on_its_card_and_whole_alone(server: ServerProcess, tokens: dict[str, str], visit: Visit):
    text = "door key " * 2000 + "end"
    headers = {"Authorization": f"Bearer {tokens['admin']}"}
    url, sent = f"{server.url}/v1/items?namespace=long", {"items": [{"text": text}], "truncate": True}
    assert httpx.post(url, json=sent, headers=headers, timeout=120).status_code == 200
    page = visit(link(server, tokens["admin"]))
    page.get_by_label("Namespace").fill("long")
    page.get_by_label("Namespace").press("Enter")
    page.get_by_label("Search", exact=True).fill("door")
    expect(page.locator(".why")).to_have_count(1)
    shown = page.locator(".item .text").text_content()
    assert shown is not None and len(shown) < 700 and shown.endswith("…")
    page.locator(".item").click()
    expect(page.locator(".sheet .text")).to_have_text(text)


def test_an_item_of_several_parts_shows_them_in_their_order(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None]
):
    pictures = [base64.b64encode(as_png(tiny_picture(seed))).decode() for seed in (1, 2)]
    steps = [[{"type": "image", "image": one}, {"type": "text", "text": f"Click {one[-9:]}."}] for one in pictures]
    long = [part for n in range(60) for part in ({"type": "text", "text": f"Step number {n} of this way."},)]
    stored("ada", {"id": "steps", "text": "Return a lamp", "content": [part for step in steps for part in step]})
    stored("ada", {"id": "long", "content": long, "thin": True})
    page = visit(link(server, tokens["ada"]))
    card = page.locator(".item", has_text="Return a lamp")
    expect(card.locator(".fact")).to_have_text("2 texts, 2 pictures")
    expect(card.locator(".picture")).to_have_count(1)
    card.click()
    expect(page.locator(".part")).to_have_count(4)
    expect(page.locator(".part .text")).to_have_text([f"Click {one[-9:]}." for one in pictures])
    for place in (0, 2):
        shown = page.locator(".part").nth(place).locator("img")
        shown.scroll_into_view_if_needed()
        page.wait_for_function("image => image.naturalWidth > 0", arg=shown.element_handle())
    page.get_by_role("button", name="Close").click()
    page.locator(".item", has_text="Step number 0").click()
    expect(page.locator(".part")).to_have_count(60)
    assert page.locator(".left-out").count() == page.get_by_text("Not in its vectors").count() > 0


def test_a_recording_is_played_to_those_who_may_read_its_item(tokens: dict[str, str], visit: Visit, tmp_path: Path):
    with server_process(tmp_path, ui=True, tokens=tokens["file"], family="qwen2_audio") as hearing:
        content = [{"type": "audio", "audio": _base64(tiny_sound(1))}, {"type": "text", "text": "The bell."}]
        sent = {"items": [{"id": HOSTILE, "content": content}]}
        bearer = {"Authorization": f"Bearer {tokens['ada']}"}
        assert httpx.post(f"{hearing.url}/v1/items", json=sent, headers=bearer, timeout=60).status_code == 200
        page = visit(link(hearing, tokens["ada"]))
        expect(page.locator(".item .fact")).to_have_text("1 text, 1 recording")
        page.locator(".item").click()
        recording = page.get_by_label("A recording")
        page.wait_for_function("audio => audio.duration === 0.5", arg=recording.element_handle())
        recording.evaluate("audio => audio.play()")
        page.wait_for_function("audio => audio.ended", arg=recording.element_handle())
        url = recording.evaluate("audio => audio.src")
        part = page.context.request.get(url, headers={"Range": "bytes=0-3"})
        assert (part.status, part.body(), part.headers["content-type"]) == (206, b"RIFF", "audio/x-wav")
        assert visit(link(hearing, tokens["bob"])).context.request.get(url).status == 403
        assert httpx.get(url).status_code == 401


@pytest.mark.parametrize("family", ["qwen2_audio", "llava"])
def test_a_dropped_recording_is_an_item_with_its_text(visit: Visit, tmp_path: Path, family: str):
    (tmp_path / "bell.wav").write_bytes(tiny_sound(1))
    with server_process(tmp_path / "memory", ui=True, family=family) as server:
        page = visit(f"{server.url}/ui/")
        open_adding(page)
        page.locator(".sheet input[type=file]").set_input_files(tmp_path / "bell.wav")
        expect(page.locator(".q-uploader__file--uploaded")).to_have_count(1)
        page.get_by_role("button", name="Add").last.click()
        expect(page.get_by_text("is found by its text alone")).to_be_visible()
        page.get_by_label("Text").fill("The bell of the school.")
        page.get_by_role("button", name="Add").last.click()
        if family == "llava":
            expect(page.get_by_text("This model takes no audio. Use one that hears")).to_be_visible()
        else:
            expect(page.locator(".item .fact", has_text="1 recording")).to_be_visible()
            assert cards(page) == ["The bell of the school."]


def test_a_revoked_token_shows_nothing_more(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None]
):
    file = Path(tokens["file"])
    before = file.read_text()
    stored("eve", "Eve's key.")
    page = visit(link(server, tokens["eve"]))
    expect(page.locator(".item")).to_have_count(1)
    entries = [one for one in json.loads(before)["tokens"] if one["name"] != "eve"]
    file.write_text(json.dumps({"tokens": entries}))
    try:
        page.get_by_label("Search", exact=True).fill("key")
        expect(page).to_have_url(f"{server.url}/ui/login")
        page.goto(f"{server.url}/ui/")
        expect(page).to_have_url(f"{server.url}/ui/login")
    finally:
        file.write_text(before)


def test_hostile_texts_are_shown_and_do_not_run(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None], tmp_path: Path
):
    items = [
        {
            "text": f"{HOSTILE} {{{{ document.title = 'run' }}}} {number}",
            "metadata": {HOSTILE: HOSTILE, ":formatter": "document.title = 'run'"},
            "id": f"{HOSTILE}{number}",
            "image": _base64(as_png(tiny_picture(number))),
        }
        for number in range(5)
    ]
    stored("ada", *items)
    page = visit(link(server, tokens["ada"]))
    expect(page.locator(".item img")).to_have_count(5)
    expect(page.locator(".item .text").first).to_contain_text("<script>")
    page.get_by_label("Search", exact=True).fill(HOSTILE)
    expect(page.locator(".why")).to_have_count(5)
    page.locator(".item").first.click()
    page.get_by_role("button", name="What its vectors say").click()
    expect(page.locator(".said .text").first).to_contain_text("<script>")
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".sheet .table")).to_contain_text("<script>")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Ask").click()
    page.get_by_label("Question").fill(HOSTILE)
    page.get_by_label("Question").press("Enter")
    expect(page.locator(".answer .muted:last-child")).to_contain_text(["prompt tokens"] * 4)
    page.get_by_role("tab", name="Map").click()
    page.locator(".map canvas").wait_for()
    page.locator(".q-select", has_text="Colour").click()
    page.get_by_role("option", name=HOSTILE).click()
    page.wait_for_timeout(1500)
    page.locator(".map canvas").hover(position={"x": 300, "y": 200})
    open_adding(page)
    page.locator(".sheet input[type=file]").set_input_files(
        {"name": "<img src=x onerror=document.title=1>.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    expect(page.locator(".q-uploader__file--uploaded")).to_have_count(1)
    page.get_by_role("button", name="Add").last.click()
    expect(page.get_by_text("cannot be read")).to_be_visible()
    assert page.title() == "comem"


def test_without_a_token_nobody_gets_in(server: ServerProcess, visit: Visit):
    page = visit(f"{server.url}/ui/")
    expect(page).to_have_url(f"{server.url}/ui/login")
    page.get_by_label("Your token").fill("comem_guessed")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("unknown here")).to_be_visible()
    for path in ("/ui/picture?namespace=ada&id=x", "/ui/_nicegui_ws/socket.io/?EIO=4&transport=polling", "/ui/x"):
        assert httpx.get(server.url + path).status_code == 401
    with pytest.raises(InvalidStatus, match="403"), connect(_socket(server)):
        pass


def test_a_token_becomes_a_cookie_that_scripts_do_not_see(server: ServerProcess, tokens: dict[str, str], visit: Visit):
    page = visit(f"{server.url}/ui/login")
    page.get_by_label("Your token").fill(tokens["ada"])
    page.get_by_label("Your token").press("Enter")
    expect(page).to_have_url(f"{server.url}/ui/")
    [cookie] = page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and tokens["ada"] not in cookie["value"]
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{server.url}/ui/login")
    assert httpx.get(f"{server.url}/ui/", headers={"Cookie": f"{cookie['name']}={cookie['value']}"}).status_code == 401


def test_pages_of_other_sites_are_refused(server: ServerProcess, tokens: dict[str, str]):
    with httpx.Client(base_url=server.url) as browser:
        browser.get(link(server, tokens["ada"]))
        assert browser.get("/ui/").status_code == 200
        foreign = {"Origin": "https://evil.example"}
        assert browser.get("/ui/", headers=foreign).status_code == 403
        assert browser.post("/ui/login", data={"token": tokens["bob"]}, headers=foreign).status_code == 403
        [(name, value)] = browser.cookies.items()
        cookie = {"Cookie": f"{name}={value}"}
        with pytest.raises(InvalidStatus, match="403"), connect(_socket(server), additional_headers=cookie | foreign):
            pass
        own = {"Origin": server.url}
        with connect(_socket(server), additional_headers=cookie | own) as socket:
            assert socket.recv(timeout=30)[0] == "0"  # the handshake of engine.io
    with httpx.Client(base_url=server.url) as browser:  # nor does a link there sign anyone in
        there = {"Sec-Fetch-Site": "cross-site"}
        assert browser.get(link(server, tokens["bob"]), headers=there).status_code == 200 and not browser.cookies


@contextmanager
def comem_ui(*options: str) -> Iterator[str]:
    """`comem ui` in a process; yields the link that it prints."""
    command = [Path(sys.executable).with_name("comem"), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    try:
        assert process.stdout is not None
        yield re.search(r"http\S+", process.stdout.readline())[0]  # type: ignore[index]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_the_command_shows_the_memory_of_a_running_server(tmp_path: Path, visit: Visit):
    with server_process(tmp_path, ui=True) as server:
        content = {"text": "The blue door.", "image": _base64(as_png(tiny_picture(4)))}
        assert httpx.post(f"{server.url}/v1/items", json={"items": [content]}, timeout=60).status_code == 200
        with comem_ui("--directory", str(tmp_path), "ui", "--no-browser") as printed:
            own = printed.partition("/ui/")[0]
            assert own != server.url and "token=" in printed
            page = visit(printed)
            expect(page.locator(".item .text")).to_have_text("The blue door.")
            image = page.locator(".item img")
            assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
            page.get_by_role("tab", name="Ask").click()
            page.get_by_label("Question").fill("Which door?")
            page.get_by_label("Question").press("Enter")
            expect(page.locator(".answer .muted:last-child")).to_contain_text(["prompt tokens"] * 4)
            rebound = {"Host": "evil.example"}
            assert httpx.get(f"{own}/ui/login", headers=rebound).status_code == 400
            assert httpx.get(f"{own}/v1/memory").status_code == 404  # the server itself has these routes
        expect(visit(f"{server.url}/ui/").locator(".item .text")).to_have_text("The blue door.")  # it has no tokens
        assert httpx.get(f"{server.url}/ui/", headers=rebound).status_code == 400


def test_a_thousand_items_stay_quick(
    server: ServerProcess, tokens: dict[str, str], visit: Visit, stored: Callable[..., None]
):
    """The first page and a search take at most three times as long as with ten items, and half a second more."""
    taken = {}
    for count in (10, 1000):
        stored("eve", *(f"Note {number} about door {number % 7}." for number in range(count)))
        rounds = [_times(visit(link(server, tokens["eve"])), count) for _ in range(2)]
        taken[count] = [min(times) for times in zip(*rounds, strict=True)]
    for few, many in zip(taken[10], taken[1000], strict=True):
        assert many < 3 * few + 0.5


def _times(page: Page, count: int) -> list[float]:
    """Seconds until the first page is there again, and until a search is shown."""
    page.locator(".item").first.wait_for()
    begun = time.perf_counter()
    page.reload()
    expect(page.locator(".item")).to_have_count(min(count, 24))
    listed = time.perf_counter()
    page.get_by_label("Search", exact=True).fill(f"note {count - 1} about door")
    page.locator(".why").first.wait_for()
    return [listed - begun, time.perf_counter() - listed]


def _texts(server: ServerProcess, token: str, namespace: str) -> list[str]:
    url, headers = f"{server.url}/v1/items/list?namespace={namespace}", {"Authorization": f"Bearer {token}"}
    return [hit["text"] for hit in httpx.post(url, json={}, headers=headers, timeout=60).json()["hits"]]


def _socket(server: ServerProcess) -> str:
    return server.url.replace("http", "ws") + "/ui/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
