"""Items are read from files: JSON lines, texts whole or in pieces, PDF files, pictures, folders of those."""

import base64
import io
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.pdf import write_pdf
from PIL import Image

from comem_memory import MemoryItem
from comem_memory.errors import InvalidItemError, LimitError
from comem_memory.files import items_of, read_items, video_frames
from comem_memory.server.settings import ServerSettings
from comem_memory.testing import tiny_picture
from comem_memory.ui.dropped import items_in

DOORS = """Before any heading.

# Doors

All doors.

## The blue one
- opens
  - with the brass key

```python
# no heading
```

Keys
====

Brass.
"""


def test_a_text_is_one_item(tmp_path: Path):
    (tmp_path / "doors.md").write_text(DOORS)
    (tmp_path / "notes.txt").write_text("One.\nTwo.\n")
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "lines.jsonl").write_text("One line.\nAnother.\n")
    read = [(item.text, item.metadata) for item in read_items(str(tmp_path))]
    assert read == [
        (DOORS.strip(), {"source": str(tmp_path / "doors.md")}),
        ("One line.", {"source": str(tmp_path / "lines.jsonl")}),
        ("Another.", {"source": str(tmp_path / "lines.jsonl")}),
        ("One.\nTwo.", {"source": str(tmp_path / "notes.txt")}),
    ]


def test_markdown_is_cut_at_its_headings(tmp_path: Path):
    (tmp_path / "doors.md").write_text(DOORS.replace("\n", "\r\n"))
    items = list(read_items(str(tmp_path), split="heading"))
    assert [item.metadata.get("headings") for item in items] == [None, ["Doors"], ["Doors", "The blue one"], ["Keys"]]
    assert "\n\n".join(item.text or "" for item in items) == DOORS.strip(), "nothing is lost, indentation neither"


def test_texts_are_cut_by_size(tmp_path: Path):
    words = " ".join(f"word{n}" for n in range(400))
    (tmp_path / "long.txt").write_text(f"{words}\n\nA last paragraph.")
    items = list(read_items(str(tmp_path), split="size"))
    assert max(len(item.text or "") for item in items) <= 1000 and items[-1].text == "A last paragraph."
    assert " ".join(item.text or "" for item in items[:-1]) == words
    (tmp_path / "long.txt").write_text(f"# Words\n{words}\n# Last\nA last paragraph.")
    under = [item.metadata["headings"] for item in read_items(str(tmp_path), split="heading", size=2000)]
    assert under == [["Words"], ["Words"], ["Words"], ["Last"]], "the heading ends a line"


def test_a_heading_with_nothing_under_it_stays_with_what_follows(tmp_path: Path):
    text = "# Doors\n\n## Front\n\nThe front door is blue.\n\nBack\n====\n\n# Cellar\nDamp.\n\n# Roof"
    (tmp_path / "doors.md").write_text(text)
    items = list(read_items(str(tmp_path), split="heading"))
    assert [item.metadata["headings"] for item in items] == [["Doors", "Front"], ["Cellar"], ["Roof"]]
    assert "\n\n".join(item.text or "" for item in items) == text


def test_pages_of_a_pdf_file(tmp_path: Path):
    write_pdf(tmp_path / "doors.pdf", "The blue door.", "", "The brass key.", "")
    with pytest.warns(UserWarning, match=r"doors.pdf holds no text on page 2, 4, which is left out: .*--page-pictures"):
        read = [(item.text, item.image, item.metadata["page"]) for item in read_items(str(tmp_path))]
    assert read == [("The blue door.", None, 1), ("The brass key.", None, 3)]
    shown = list(read_items(str(tmp_path / "doors.pdf"), page_pictures=True))
    assert [(item.text, item.metadata["page"]) for item in shown] == [
        ("The blue door.", 1),
        (None, 2),
        ("The brass key.", 3),
        (None, 4),
    ]
    assert all(isinstance(item.image, Image.Image) and item.image.size == (400, 200) for item in shown)
    tiny_picture(1).save(tmp_path / "scanned.pdf")
    with pytest.raises(InvalidItemError, match=r"scanned.pdf holds no text: it may be scanned. .*--page-pictures"):
        list(read_items(str(tmp_path / "scanned.pdf")))


def write_clip(path: Path, *, seconds: int, second: Callable[[int], Image.Image], begins: int = 0) -> None:
    """A clip of two frames a second, each second of one picture, whose times begin at a second."""
    with av.open(str(path), "w") as clip:
        stream = clip.add_stream("mpeg4", rate=2)
        stream.width, stream.height = second(0).size
        stream.pix_fmt = "yuv420p"
        for at in range(2 * seconds):
            frame = av.VideoFrame.from_image(second(at // 2))
            frame.pts, frame.time_base = 2 * begins + at, Fraction(1, 2)
            clip.mux(stream.encode(frame))
        clip.mux(stream.encode())


def grey(second: int) -> Image.Image:
    return Image.new("RGB", (64, 48), (10 * second,) * 3)


def shades(frames: Sequence[Image.Image]) -> list[int]:
    return [round(np.asarray(frame).mean() / 10) for frame in frames]


def test_a_clip_is_an_item_of_its_frames(tmp_path: Path):
    write_clip(tmp_path / "a.mp4", seconds=4, second=grey)
    write_clip(tmp_path / "long.mp4", seconds=24, second=grey)
    (tmp_path / "a.txt").write_text("How it gets light.")
    first, long = read_items(str(tmp_path))
    assert (first.text, first.thin, first.metadata) == (
        "How it gets light.",
        True,
        {"source": str(tmp_path / "a.mp4")},
    )
    assert shades(first.content or ()) == [0, 1, 2, 3] and first.image == (first.content or ())[0]
    assert shades(long.content or ())[::5] == [0, 7, 15, 22] and len(long.content or ()) == 16
    assert shades(video_frames(tmp_path / "a.mp4", every=0.5)) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert MemoryItem(content=video_frames(tmp_path / "a.mp4", every=2)).content is not None
    (tmp_path / "a.mp4").write_bytes(b"no clip")
    with pytest.raises(InvalidItemError, match=r"Clip .*a.mp4 cannot be read: .*Pass a file that FFmpeg can open"):
        video_frames(tmp_path / "a.mp4")
    with pytest.raises(InvalidItemError, match=r"every is 0. Pass the seconds"):
        video_frames(tmp_path / "a.mp4", every=0)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])  # which tell how long they last each in its own way
def test_a_clip_whose_times_do_not_begin_at_zero(tmp_path: Path, name: str):
    write_clip(tmp_path / name, seconds=24, second=grey, begins=40)
    assert shades(video_frames(tmp_path / name))[::5] == [0, 7, 15, 22]
    assert shades(video_frames(tmp_path / name, every=8)) == [0, 8, 16]


def test_frames_after_a_gap_are_as_far_apart_as_before(tmp_path: Path):
    write_clip(tmp_path / "a.avi", seconds=4, second=grey, begins=10)  # AVI begins with its first frame all the same
    assert shades(video_frames(tmp_path / "a.avi", every=2)) == [0, 0, 2]


def test_lines_with_content(tmp_path: Path):
    tiny_picture(1).save(tmp_path / "p.png")
    line = (
        '{"text": "Both", "content": [{"type": "image", "image": "p.png"}, "One.", {"type": "text", "text": "Two."}]}'
    )
    (tmp_path / "lines.jsonl").write_text(line)
    [item] = read_items(str(tmp_path / "lines.jsonl"))
    assert item.text == "Both" and item.content == (tmp_path / "p.png", "One.", "Two.")
    (tmp_path / "lines.jsonl").write_text('{"content": [{"type": "video"}]}')
    with pytest.raises(InvalidItemError, match=r"lines.jsonl, line 1: A part of content is"):
        list(read_items(str(tmp_path / "lines.jsonl")))


@pytest.mark.parametrize(
    ("name", "split", "library"),
    [("a.mp4", None, "av"), ("a.pdf", None, "pypdfium2"), ("a.txt", "size", "langchain_text_splitters")],
)
def test_a_missing_library_is_named_at_once(tmp_path: Path, monkeypatch, name: str, split, library: str):
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / name).write_text("A text.")
    with pytest.raises(ModuleNotFoundError, match=library):
        read_items(str(tmp_path), split=split)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"txt": "b"}', r"a.jsonl, line 2: .*txt: Extra inputs.*Each line is an object"),
        ("a.jsonl", b'{"text": "a"', "line 1: .*Each line is an object"),
        ("a.jsonl", b"{}", "line 1: MemoryItem has neither text nor image"),
        ("a.txt", b"caf\xe9", "a.txt is no UTF-8 text: .*Convert it to UTF-8"),
        ("a.pdf", b"%PDF-1.4", "a.pdf cannot be opened: .*Pass a whole PDF file without a password"),
        ("a.tex", b"", "Nothing in .*a.tex is .jsonl, .txt, .md, .pdf, a picture or a clip. Convert"),
    ],
)
def test_sources_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidItemError, match=message):
        list(read_items(str(tmp_path / name)))


def test_a_folder_without_anything_to_read(tmp_path: Path):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"from a telephone")
    (tmp_path / "IMG_1.txt").write_text("Its caption.")
    with pytest.raises(
        InvalidItemError, match="Nothing in .* is .jsonl, .txt, .md, .pdf, a picture or a clip. Convert"
    ):
        read_items(str(tmp_path))


def test_texts_beside_files_that_are_left_out_are_read_unless_these_are_pictures(tmp_path: Path):
    for name in ("report.docx", "report.txt", "song.ogg", "song.txt", "IMG_1.heic", "IMG_1.txt", "a.md"):
        (tmp_path / name).write_text(name)
    with pytest.warns(UserWarning, match="Left out of") as told:
        assert [item.text for item in read_items(str(tmp_path))] == ["a.md", "report.txt", "song.txt"]
    unread, unheard = (str(one.message).removeprefix(f"Left out of {tmp_path}: ") for one in told)
    assert unread.startswith("1 .docx, 1 .heic (IMG_1.heic, report.docx). Nothing here reads such files: convert")
    assert unheard.startswith("1 .ogg (song.ogg). Few models hear: name each recording that should be read, ")


def test_what_cannot_be_read_is_an_item_of_items_of(tmp_path: Path):
    write_pdf(tmp_path / "pages.pdf", "One.", "Two.", "Three.")
    whole = (tmp_path / "pages.pdf").read_text()
    (tmp_path / "pages.pdf").write_text(whole.replace("Kids[3 0 R 5 0 R", "Kids[3 0 R 99 0 R"))
    first, error = items_of(tmp_path / "pages.pdf")
    assert isinstance(first, MemoryItem) and first.text == "One."
    assert isinstance(error, InvalidItemError) and "pages.pdf, page 2, cannot be read: " in str(error)
    (tmp_path / "deep.jsonl").write_text('{"text": ' + "[" * 200_000 + "\nNext.")
    error, after = items_of(tmp_path / "deep.jsonl")
    assert isinstance(error, InvalidItemError) and "deep.jsonl, line 1: " in str(error)
    assert isinstance(after, MemoryItem) and after.text == "Next."
    [error] = items_of(tmp_path / "gone.txt")  # since the folder was looked through
    assert isinstance(error, InvalidItemError) and "gone.txt cannot be read: No such file" in str(error)


def test_a_byte_order_mark_and_braces_in_texts_are_no_obstacle(tmp_path: Path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "From Windows."}\n')
    (tmp_path / "b.txt").write_text("{curly} words\n", encoding="utf-8-sig")
    assert [item.text for item in read_items(str(tmp_path))] == ["From Windows.", "{curly} words"]


def test_a_source_that_does_not_exist(tmp_path: Path):
    with pytest.raises(InvalidItemError, match=r"nothing.jsonl does not exist. Pass a file, a folder, or -"):
        read_items(str(tmp_path / "nothing.jsonl"))


def test_a_line_with_a_url_for_a_picture_is_named(tmp_path: Path):
    (tmp_path / "items.jsonl").write_text('{"image": "https://example.org/a.png"}')
    with pytest.raises(InvalidItemError, match=r"items.jsonl, line 1: Image https://example.org/a.png is a URL"):
        list(read_items(str(tmp_path / "items.jsonl")))


def test_lines_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"text": "One."}\nTwo.\n{"broken'))
    items = read_items("-")
    assert next(items) == MemoryItem(text="One.")
    assert next(items) == MemoryItem(text="Two.", metadata={"source": "standard input"})


def test_standard_input_from_windows_and_its_lines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO('\ufeff{"text": "From Windows."}\n'))
    assert list(read_items("-")) == [MemoryItem(text="From Windows.")]
    monkeypatch.setattr(sys, "stdin", io.StringIO('\ufeff\n\n{"text": "One."}\n{"broken'))
    items = read_items("-")
    assert next(items) == MemoryItem(text="One.")
    with pytest.raises(InvalidItemError, match="standard input, line 4: "):
        next(items)


def test_what_a_browser_dropped_names_no_other_picture(tmp_path: Path):
    dropped = tmp_path / "dropped"
    dropped.mkdir()
    for path in (tmp_path / "private.png", dropped / "own.png"):
        tiny_picture(1).save(path)
    for name, error in [
        ("own.png", nullcontext()),
        ("../private.png", pytest.raises(InvalidItemError, match="dropped")),
    ]:
        line = {"content": [{"type": "image", "image": "own.png"}, {"type": "image", "image": name}]}
        (dropped / "lines.jsonl").write_text(json.dumps(line))
        with error:
            items = list(items_in(dropped, ServerSettings()))
    assert all(isinstance(part, bytes) for item in items for part in (item.image, *(item.content or ())))


def test_what_a_browser_dropped_is_held_to_the_limits(tmp_path: Path):
    limits = ServerSettings(max_picture_bytes=1000, max_picture_pixels=5000, max_item_pixels=7000)
    small, large, noisy = (io.BytesIO() for _ in range(3))
    Image.new("RGB", (64, 48)).save(small, format="PNG")
    Image.new("RGB", (300, 300)).save(large, format="PNG")
    tiny_picture(1).save(noisy, format="BMP")
    parts = [{"type": "image", "base64": base64.b64encode(one.getvalue()).decode()} for one in (small, large, noisy)]
    for content, error in (
        ([parts[0]], nullcontext()),
        (["A text.", parts[0], "Another."], nullcontext()),
        ([parts[1]], pytest.raises(LimitError, match="300 x 300 pixels, more than 5000")),
        (["A text.", "Another.", parts[1]], pytest.raises(LimitError, match="300 x 300 pixels, more than 5000")),
        ([parts[2]], pytest.raises(LimitError, match="bytes, more than 1000")),
        ([parts[0]] * 3, pytest.raises(LimitError, match="have 9216 pixels, more than 7000")),
        ([{"type": "image", "base64": "bm9uc2Vuc2U="}], pytest.raises(InvalidItemError, match="cannot be read")),
    ):
        (tmp_path / "lines.jsonl").write_text(json.dumps({"content": content}))
        with error:
            [item] = items_in(tmp_path, limits)
            assert item.image == small.getvalue()
    Image.new("RGB", (64, 48), "white").save(tmp_path / "own.png")
    (tmp_path / "lines.jsonl").write_text(json.dumps({"image": "own.png", "content": [parts[0], parts[0]]}))
    with pytest.raises(LimitError, match="have 9216 pixels, more than 7000"):
        list(items_in(tmp_path, limits))


def test_a_clip_that_a_browser_dropped_is_held_to_the_limits(tmp_path: Path):
    write_clip(tmp_path / "a.mp4", seconds=4, second=grey)
    [item] = items_in(tmp_path, ServerSettings(max_picture_pixels=64 * 48, max_item_pixels=4 * 64 * 48))
    assert len(item.content or ()) == 4 and item.image == (item.content or ())[0]
    with pytest.raises(InvalidItemError, match="Clip a.mp4 has pictures of 64 x 48 pixels, more than 100"):
        list(items_in(tmp_path, ServerSettings(max_picture_pixels=100)))
    with pytest.raises(LimitError, match="have 12288 pixels, more than 12000"):
        list(items_in(tmp_path, ServerSettings(max_item_pixels=12000)))


@pytest.mark.parametrize("name", ["empty.txt", "empty.md", "empty.jsonl"])
def test_a_file_that_holds_no_text_is_told_of(tmp_path: Path, name: str):
    (tmp_path / name).write_text("\n \n")
    (tmp_path / "door.txt").write_text("The door.")
    with pytest.warns(UserWarning, match=rf"{name} holds no text, and is left out\."):
        assert [item.text for item in read_items(str(tmp_path))] == ["The door."]
