"""Pictures in messages of both frameworks: every form, in lines or not, and none that is left out without a word."""

import base64
import logging
from io import BytesIO
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock

from comem_memory.content import decoded
from comem_memory.files import load_image
from comem_memory.files.encoded_pictures import from_data_url
from comem_memory.integrations.langchain.messages import to_messages as of_langchain
from comem_memory.integrations.llama_index.messages import to_messages as of_llama_index
from comem_memory.testing import tiny_picture

DATA = BytesIO()
tiny_picture(3, size=(200, 100)).save(DATA, format="PNG")
RAW = DATA.getvalue()
LINES = base64.encodebytes(RAW).decode().replace("\n", "\r\n")
URL = f"data:image/png;base64,{LINES}"


def same(content: list[dict[str, Any]]) -> bool:
    return [part["image"].tobytes() for part in content] == [load_image(RAW).tobytes()]


def test_base64_in_lines_without_padding_and_for_urls():
    for packed in (LINES, LINES.encode(), base64.b64encode(RAW).decode().rstrip("="), base64.urlsafe_b64encode(RAW)):
        assert decoded(packed) == RAW
    assert from_data_url(URL) == from_data_url(URL.replace("+", "%2B")) == RAW
    for damaged in ("A", "é", "!!!!"):
        with pytest.raises(ValueError, match="base64 is damaged"):
            decoded(damaged)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "base64": LINES, "mime_type": "image/png"},
        {"type": "image", "url": URL},
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "image_url", "image_url": URL},
        {"type": "input_image", "image_url": URL},
        {"type": "image", "source_type": "base64", "data": LINES, "mime_type": "image/png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": LINES}},
        {"type": "file", "base64": LINES, "mime_type": "image/png"},
    ],
)
def test_every_form_of_langchain(block: dict[str, Any]):
    assert same(of_langchain([HumanMessage([block])])[0]["content"])


@pytest.mark.parametrize(
    "block",
    [
        ImageBlock(image=RAW),
        ImageBlock(image=LINES.encode()),
        ImageBlock(image=BytesIO(LINES.encode())),
        ImageBlock(url=URL),
    ],
)
def test_every_form_of_llama_index(block: ImageBlock):
    assert same(of_llama_index([ChatMessage(role="user", blocks=[block])])[0]["content"])


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "file_id": "f1"},
        {"type": "image"},
        {"type": "image", "base64": "A", "mime_type": "image/png"},
        {"type": "image", "base64": "AAAA", "mime_type": "image/png"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ],
)
def test_one_that_cannot_be_read_is_an_error_or_a_warning(block: dict[str, Any], caplog: pytest.LogCaptureFixture):
    said = HumanMessage([{"type": "text", "text": "What?"}, block])
    with pytest.raises(ValueError, match="Send|Pass|Encode"):
        of_langchain([said])
    with caplog.at_level(logging.WARNING):
        assert of_langchain([said], skip_unreadable=True)[0]["content"] == [{"type": "text", "text": "What?"}]
    assert "neither recalled with nor remembered" in caplog.text


@pytest.mark.parametrize(
    "block", [ImageBlock(), ImageBlock(image=b"junk"), ImageBlock(url="https://example.org/a.png")]
)
def test_nor_of_llama_index(block: ImageBlock, caplog: pytest.LogCaptureFixture):
    said = ChatMessage(role="user", blocks=[TextBlock(text="What?"), block])
    with pytest.raises(ValueError, match="Send|Pass"):
        of_llama_index([said])
    with caplog.at_level(logging.WARNING):
        assert of_llama_index([said], skip_unreadable=True)[0]["content"] == [{"type": "text", "text": "What?"}]
    assert "neither recalled with nor remembered" in caplog.text
