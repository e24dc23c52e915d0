"""Opening pictures safely: bounded in size, RGB, with errors that name the source."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from textwrap import shorten
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from comem_memory.content import local_path
from comem_memory.errors import InvalidItemError, shortened
from comem_memory.files.atomic import atomic_write

MAX_PIXELS = 89_478_485
"""Pillow's decompression-bomb limit, which Pillow itself only warns about up to twice this size."""
MODEL_PIXELS = 1280 * 28 * 28
"""Most pixels of a picture that a model is shown: 1,280 tokens of Qwen2.5-VL, as its model card recommends."""
MAX_DOWNLOAD = 32 * 2**20
"""Most bytes of a picture that is fetched from the web, where a message may name a file of any size."""


def load_image(source: Any) -> Image.Image:
    """Opens a picture as RGB, upright, on white and cropped where it is transparent.

    Numbers of 16 bits a pixel go from black, 0, to white, 65535. Those of 32 bits, whole or not, go from 0 to the first
    of 1, 255 and 65535 that none exceeds; where one exceeds these or is below 0, from the lowest to the highest.

    Args:
        source: The path of a picture, its encoded bytes (PNG, JPEG, ...), or a `PIL.Image.Image`.

    Raises:
        InvalidItemError: It is a URL, or the file is missing, is no picture, or has more than `MAX_PIXELS` pixels.
    """
    name = shortened(source) if isinstance(source, str | Path) else f"<{type(source).__name__}>"
    try:
        image = source if isinstance(source, Image.Image) else Image.open(_readable(source))
        if image.width * image.height > MAX_PIXELS:
            raise InvalidItemError(
                f"Image {name} has {image.width} x {image.height} pixels, more than {MAX_PIXELS}. Scale it down first."
            )
        return _on_white(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise InvalidItemError(f"Image {name} does not exist. Pass the path of an image file.") from error
    except Image.DecompressionBombError as error:
        raise InvalidItemError(f"Image {name}: {error} Scale it down first.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, RuntimeError) as error:  # AVIF: RuntimeError
        if isinstance(error, InvalidItemError):
            raise
        found = getattr(error, "strerror", None) or error  # which does not name the file once more
        raise InvalidItemError(
            f"Image {name} cannot be read: {found}. Pass a file that Pillow can open, such as PNG or JPEG."
        ) from error


def at_most(image: Image.Image, pixels: int) -> Image.Image:
    """The picture, scaled down if it has too many pixels.

    Args:
        image: The picture.
        pixels: Most pixels that the result has.
    """
    area = image.width * image.height
    if area <= pixels:
        return image
    side = (pixels / area) ** 0.5
    return image.resize((max(1, int(image.width * side)), max(1, int(image.height * side))), reducing_gap=2)


def named_picture(source: str, *, allowed: bool) -> bytes | Path:
    """The picture that a message names, for `load_image`: fetched from an http(s) URL, or the path of a file.

    Args:
        source: An http(s) or file URL, or a path.
        allowed: Whether messages may make this machine fetch URLs and open files.

    Raises:
        ValueError: `allowed` is off.
        InvalidItemError: The picture cannot be fetched, or has more than `MAX_DOWNLOAD` bytes.
    """
    if not allowed:
        raise ValueError(
            f"The message names a picture at {shortened(source)!r}. Send its bytes as base64, or pass "
            "allow_image_urls=True if everyone who writes messages may make this machine fetch URLs and open files."
        )
    address = urlsplit(source)
    if address.scheme in ("http", "https"):
        return fetch_picture(source)
    return Path(url2pathname(address.path) if address.scheme == "file" else source)


def fetch_picture(url: str) -> bytes:
    """Downloads an encoded picture.

    Args:
        url: The picture's http(s) URL; redirects are followed.

    Raises:
        InvalidItemError: The picture cannot be fetched, or has more than `MAX_DOWNLOAD` bytes, of which no more are
            read.
    """
    content, name = bytearray(), shortened(url)
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=30) as answer:
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > MAX_DOWNLOAD:
                    raise InvalidItemError(f"Image {name} has more than {MAX_DOWNLOAD} bytes. Send a smaller one.")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        found = shorten(str(error), 200)
        raise InvalidItemError(f"Image {name} cannot be fetched: {found}. Check the URL, or send the bytes.") from error
    return bytes(content)


def image_digest(image: Image.Image) -> bytes:
    """SHA-256 of a picture's size and pixels: the same for a file, its bytes, and the opened picture."""
    return hashlib.sha256(f"{image.size}".encode() + image.convert("RGB").tobytes()).digest()


def as_png(image: Image.Image) -> bytes:
    """A picture as the content of a PNG file."""
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def keep_picture(image: Image.Image, path: Path) -> Path:
    """Writes a picture as PNG, whole or not at all; it is on the disk on return.

    Args:
        image: The picture.
        path: The file to write; folders that are missing above it are made.

    Returns:
        The path.
    """
    atomic_write(path, lambda partial: image.save(partial, format="PNG"), durable=True)
    return path


def _readable(source: Any) -> Any:
    if isinstance(source, str | Path):
        return local_path(source)
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _on_white(image: Image.Image) -> Image.Image:
    """The picture in RGB, cropped to what is not transparent: such a margin is not part of what it shows."""
    if image.mode.startswith("I") or image.mode == "F":  # `convert` would clip what is above 255 to white
        image = _eight_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    box = image.getchannel("A").point([0] * 128 + [255] * 128).getbbox()
    image = image.crop(box) if box else image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """A picture of 16 or 32 bits a pixel in shades of 8 bits."""
    values = np.asarray(image, np.float32)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if image.mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 65535:
        low, high = 0.0, next(white for white in (1.0, 255.0, 65535.0) if high <= white)
    shades = np.interp(np.nan_to_num(values, nan=low), (low, high), (0, 256)).clip(max=255)
    scaled = Image.fromarray(shades.astype(np.uint8))
    if isinstance(transparent := image.info.get("transparency"), int):
        scaled.putalpha(Image.fromarray(values != transparent).convert("L"))
    return scaled
