"""Opening pictures: the same pixels from every source, or an error that names the source."""

import contextlib
import io
import struct
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comem_memory import MemoryItem
from comem_memory.errors import InvalidItemError
from comem_memory.files import image_digest, images, keep_picture, load_image, named_picture
from comem_memory.files.images import fetch_picture
from comem_memory.testing import tiny_picture


def encoded(image: Image.Image, kind: str = "PNG", **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def large_png(width: int, height: int) -> bytes:
    """A one-bit PNG that claims to be large, a few bytes long."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_path_its_bytes_and_the_picture_are_the_same(tmp_path: Path):
    picture = tiny_picture()
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(picture))
    sources = [path, str(path), path.read_bytes(), picture, Image.open(path)]
    assert {image_digest(load_image(source)) for source in sources} == {image_digest(picture)}
    assert image_digest(tiny_picture(1)) != image_digest(picture)


def test_the_digest_knows_the_shape():
    assert image_digest(Image.new("RGB", (2, 8))) != image_digest(Image.new("RGB", (8, 2)))


def test_a_kept_picture_is_the_same(tmp_path: Path):
    path = keep_picture(tiny_picture(), tmp_path / "new" / "picture.png")
    assert image_digest(load_image(path)) == image_digest(tiny_picture())
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InvalidItemError, match=r"nowhere\.png does not exist"):
        load_image(tmp_path / "nowhere.png")
    with pytest.raises(InvalidItemError, match="cannot be read"):
        load_image(tmp_path)


@pytest.mark.parametrize("url", ["https://example.org/a.png", "HTTP://example.org/a.png", "file:///tmp/a.png"])
def test_a_url_is_not_taken_for_a_path(url: str):
    for call in (load_image, lambda url: load_image(Path(url)), lambda url: MemoryItem(image=url)):
        with pytest.raises(InvalidItemError, match="is a URL, and a memory fetches none. Fetch it"):
            call(url)
    assert MemoryItem(text="a", image="https.png").image == Path("https.png")


@pytest.mark.parametrize("beginning", ["data:image/png;base64,", "", "https://example.org/"])
def test_errors_quote_little_of_a_long_name(beginning: str):
    name = f"{beginning}{'iVBORw0KGgo' * 4000}=end"
    for call in (
        lambda: load_image(name),
        lambda: MemoryItem(image=name) and load_image(name),
        lambda: MemoryItem(id=name, text=" "),
        lambda: MemoryItem(text="a", metadata={f"${name}": 1}),
        lambda: MemoryItem(text="a", metadata={name: float("nan")}),
        lambda: MemoryItem(text=3, id=name),
        lambda: named_picture(name, allowed=False),
        lambda: fetch_picture(f"http://127.0.0.1:9/{name}"),
    ):
        with pytest.raises(ValueError, match=r"=end|end'|end ") as error:
            call()
        assert len(str(error.value)) < 700


@pytest.mark.parametrize("content", [b"", b"not a picture", b"<svg/>", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "note.png").write_bytes(content)
    with pytest.raises(InvalidItemError, match=r"note\.png cannot be read"):
        load_image(tmp_path / "note.png")
    with pytest.raises(InvalidItemError, match="<bytes> cannot be read"):
        load_image(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_truncated_file_is_refused_wherever_it_ends(kind: str):
    whole = encoded(tiny_picture(), kind)
    load_image(whole)
    for length in range(0, len(whole) * 3 // 4, max(1, len(whole) // 60)):
        with pytest.raises(InvalidItemError, match="Image <bytes>"):
            load_image(whole[:length])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged TIFF tags
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_damaged_file_is_read_or_refused(kind: str):
    whole, rng = encoded(tiny_picture(), kind), np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 4):
            damaged[position] = rng.integers(256)
        with contextlib.suppress(InvalidItemError):
            assert load_image(bytes(damaged)).mode == "RGB"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 20_000, 60_000])  # Pillow warns about the first, and refuses the others
def test_a_decompression_bomb_is_refused_before_it_unpacks(side: int):
    with pytest.raises(InvalidItemError, match="Scale it down first"):
        load_image(large_png(side, side))


def test_the_limit_is_exact(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 48)
    load_image(tiny_picture())
    with pytest.raises(InvalidItemError, match="64 x 49 pixels, more than 3072"):
        load_image(tiny_picture(size=(64, 49)))


def test_transparency_becomes_white():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0])
    for source in (
        clear,
        encoded(clear),
        encoded(palette, transparency=0),
        encoded(Image.new("RGB", (4, 4), "red"), transparency=(255, 0, 0)),
        Image.new("LA", (4, 4), (0, 0)),
    ):
        assert load_image(source).getcolors() == [(16, (255, 255, 255))]
    half = load_image(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))
    assert half.getpixel((0, 0)) == pytest.approx((127, 127, 127), abs=1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "I;16", "I;16B", "I", "F"])
def test_every_mode_becomes_rgb(mode: str):
    assert load_image(Image.new(mode, (3, 2))).mode == "RGB"


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 65535, "<u2"),
        (0, 65535, ">u2"),
        (0, 255, "<i4"),
        (0, 65535, "<i4"),
        (-(10**9), 10**9, "<i4"),
        (0, 1, "<f4"),
        (0, 255, "<f4"),
        (-500, 8848, "<f4"),
        (-3e38, 3e38, "<f4"),
    ],
)
def test_more_than_eight_bits_a_pixel_keep_their_shades(low: float, high: float, dtype: str):
    values = np.linspace(low, high, 256).astype(dtype)[None]
    loaded = np.asarray(load_image(encoded(Image.fromarray(values), "TIFF")))
    np.testing.assert_allclose(loaded[0, :, 0], np.arange(256), atol=1)


def test_a_dim_picture_of_sixteen_bits_stays_dim():
    for dtype in ("<u2", ">u2", "<i4"):
        values = np.linspace(0, 25600, 101).astype(dtype)[None]
        loaded = np.asarray(load_image(Image.fromarray(values)))
        np.testing.assert_array_equal(loaded[0, :, 0], np.arange(101))


def test_values_that_are_no_numbers_are_black():
    values = np.array([[np.nan, -np.inf, 0, 0.5, 1, np.inf]], "<f4")
    loaded = np.asarray(load_image(encoded(Image.fromarray(values), "TIFF")))
    assert loaded[0, :, 0].tolist() == [0, 0, 0, 128, 255, 255]
    assert load_image(Image.fromarray(np.full((2, 3), np.nan, "<f4"))).getcolors() == [(6, (0, 0, 0))]


def test_the_transparent_shade_of_sixteen_bits_is_left_out():
    values = np.array([[300, 12800, 65535]], np.uint16)
    loaded = load_image(encoded(Image.fromarray(values), transparency=300))
    assert np.asarray(loaded)[0, :, 0].tolist() == [50, 255]


def test_a_transparent_margin_is_not_part_of_the_picture():
    wide = Image.new("RGBA", (20, 12), (0, 0, 0, 0))
    wide.paste(tiny_picture(size=(8, 6)).convert("RGBA"), (5, 2))
    assert image_digest(load_image(wide)) == image_digest(tiny_picture(size=(8, 6)))


def test_a_photo_is_turned_upright():
    picture = tiny_picture(size=(64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to see it upright
    upright = load_image(encoded(picture, exif=exif))
    assert upright.size == (48, 64)
    assert image_digest(upright) == image_digest(picture.transpose(Image.Transpose.ROTATE_270))


def test_the_source_is_left_alone():
    picture = tiny_picture()
    load_image(picture).paste("black", (0, 0, 64, 48))
    assert image_digest(picture) == image_digest(tiny_picture())


class Pictures(BaseHTTPRequestHandler):
    """Serves a picture, and one without end."""

    def do_GET(self):
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        if self.path == "/picture":
            self.wfile.write(encoded(tiny_picture()))
        with contextlib.suppress(ConnectionError):
            while self.path == "/endless":
                self.wfile.write(bytes(2**16))

    def log_message(self, *_: object):
        pass


def test_fetched_pictures_are_bounded_and_failures_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(images, "MAX_DOWNLOAD", 2**20)
    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert image_digest(load_image(fetch_picture(f"{url}/picture"))) == image_digest(tiny_picture())
        with pytest.raises(InvalidItemError, match="endless has more than 1048576 bytes"):
            fetch_picture(f"{url}/endless")
        with pytest.raises(InvalidItemError, match="none cannot be fetched: .*404"):
            fetch_picture(f"{url}/none")
        server.shutdown()
    with pytest.raises(InvalidItemError, match="cannot be fetched"):
        fetch_picture(f"{url}/picture")
