"""PDF files, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from comem_memory.errors import InvalidItemError

RESOLUTION = 144
"""Dots per inch of a page's picture, twice a PDF's points: small print can be read."""


def pages(file: Path, *, pictures: bool) -> Iterator[tuple[str, Image.Image | None]]:
    """The text of each page, which is empty where a page has none, and if asked for its picture.

    Raises:
        InvalidItemError: The file is no PDF, it or a page is damaged, or it asks for a password.
        ModuleNotFoundError: What reads PDF files is not installed: `pip install 'comem-memory[pdf]'`.
    """
    import pypdfium2 as pdfium  # an extra: not everyone has PDF files

    try:
        document = pdfium.PdfDocument(file)
    except pdfium.PdfiumError as error:
        raise InvalidItemError(f"{file} cannot be opened: {error} Pass a whole PDF file without a password.") from error
    with document:
        for number in range(len(document)):
            try:
                page = document[number]
                text = page.get_textpage().get_text_bounded().replace("\r\n", "\n").strip()
                picture = page.render(scale=RESOLUTION / 72).to_pil().convert("RGB") if pictures else None
            except pdfium.PdfiumError as error:
                raise InvalidItemError(
                    f"{file}, page {number + 1}, cannot be read: {error} Pass a whole PDF file, or leave the page out."
                ) from error
            yield text, picture
