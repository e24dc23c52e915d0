"""What a memory's methods take, as it is sent to a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel, ValidationError

from comem_memory.chat import ChatSettings, NamedItems
from comem_memory.content import Audio, content_parts, pictures_of
from comem_memory.errors import QueryError, shortened
from comem_memory.files import as_png, load_image, read_audio
from comem_memory.model import Message
from comem_memory.server import wire
from comem_memory.types import MemoryItem, whole


def request(kind: type[wire.Wire], **given: Any) -> Any:
    """A request; what is `None` is left to the server.

    Raises:
        QueryError: Something in it cannot be sent.
    """
    try:
        return kind(**{name: whole(value) for name, value in given.items() if value is not None})
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(str(part) for part in found["loc"])
        raise QueryError(f"{shortened(place)} cannot be sent to a server: {found['msg']}.") from error


def picture(image: Any) -> bytes | None:
    """The encoded file of a picture: a path's own, bytes as they are, an opened one as PNG.

    Raises:
        InvalidItemError: It cannot be opened.
    """
    if image is None:
        return None
    opened = load_image(image)  # what is wrong with it is said before it travels
    if isinstance(image, Image.Image):
        return as_png(opened)
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def item(given: MemoryItem) -> wire.Item:
    """
    Raises:
        InvalidItemError: A picture cannot be opened.
    """
    if given.content is None:
        return wire.Item.of(given, picture(given.image))
    is_first = any(given.image is one for one in pictures_of(given.content)[:1])  # which the server takes by itself
    return wire.Item.of(given, None if is_first else picture(given.image), content(given.content))


def content(given: Any) -> wire.Content | None:
    """Texts, pictures and recordings, as `MemoryItem` takes them.

    Raises:
        InvalidItemError: It is no content, or a picture or recording cannot be opened.
    """
    if given is None:
        return None
    return [
        wire.TextPart(type="text", text=part)
        if isinstance(part, str)
        else wire.AudioPart(type="audio", audio=read_audio(part).data)
        if isinstance(part, Audio)
        else wire.ImagePart(type="image", image=picture(part) or b"")
        for part in content_parts(given)
    ]


def length_of(sent: wire.Item) -> int:
    """About how many bytes an item is in a request; its files are not encoded for that."""
    parts = sent.content or []
    files = [sent.image or b""]
    files += [
        part.audio if isinstance(part, wire.AudioPart) else part.image
        for part in parts
        if not isinstance(part, wire.TextPart)
    ]
    texts = [part.text for part in parts if isinstance(part, wire.TextPart)]
    plain = len(sent.model_dump_json(exclude_unset=True, exclude={"image", "content"}))
    encoded = sum(4 * -(-len(one) // 3) for one in files)
    written = sum(len(json.dumps(one, ensure_ascii=False).encode()) for one in texts)
    return (
        plain + encoded + written + len(',"image":"","content":[]') + len('{"type":"image","image":""},') * len(parts)
    )


def message(given: Message) -> BaseModel:
    """A turn of a conversation.

    Raises:
        InvalidItemError: A picture cannot be opened.
        QueryError: It is none that a server takes.
    """
    plain = {name: given[name] for name in ("role", "tool_calls", "tool_call_id", "name") if name in given}
    content = given["content"]
    sent_content = content if isinstance(content, str) else [_part(part) for part in content]
    named: NamedItems | None = given.get("named")
    sent = None if named is None else request(wire.Named, ids=list(named.ids), text=named.text, mode=named.mode)
    return request(wire.Message, content=sent_content, named=sent, **plain)


def _part(part: Message) -> BaseModel:
    if part["type"] == "image":
        return request(wire.ImagePart, type="image", image=picture(part["image"]))
    return request(wire.TextPart, type="text", text=part["text"])


def settings(given: ChatSettings) -> BaseModel:
    """How to answer.

    Raises:
        QueryError: A setting that a server does not take.
    """
    return request(
        wire.ChatSettings,
        max_tokens=given.max_tokens,
        temperature=given.temperature,
        top_p=given.top_p,
        seed=given.seed,
        stop=list(given.stop),
        tools=[dict(tool) for tool in given.tools],
        tool_choice=given.tool_choice,
        schema=given.schema,
        generation=generation(given.generation_kwargs),
    )


def generation(given: Mapping[str, Any]) -> BaseModel:
    """Settings of transformers' `generate`.

    Raises:
        QueryError: One that a server does not take.
    """
    if unknown := sorted(given.keys() - wire.GenerationOptions.model_fields.keys()):
        raise QueryError(
            f"A server takes no {unknown[0]!r}. Of transformers' generate it takes "
            f"{', '.join(wire.GenerationOptions.model_fields)}."
        )
    return request(wire.GenerationOptions, **given)
