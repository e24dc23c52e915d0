"""Lets Schemathesis reach behind the first check of a request: what is stored, the model's name, real pictures."""

import base64
import io
import os
from typing import Any
from zlib import crc32

import requests
import schemathesis
from PIL import Image

URL, MODEL, HEADERS = os.environ["COMEM_URL"], os.environ["MODEL"], {"Authorization": os.environ["AUTHORIZATION"]}
ITEM = {"id": "door", "text": "The blue door opens with the brass key."}


def _picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


KNOWN = {"id": ITEM["id"], "after": "a", "model": MODEL, "image": _picture(), "arguments": '{"a": 1}'}
"""Texts that mean something, by the name of their field."""


def _meaningful(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _meaningful(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [ITEM["id"] if name in ("ids", "found") and isinstance(one, str) else _meaningful(one) for one in value]
    if name == "url" and isinstance(value, str) and value.startswith("data:"):
        return f"data:image/png;base64,{KNOWN['image']}"
    return KNOWN.get(name, value) if isinstance(value, str) else value


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Of two requests of the right form one means something, and what it is to find is there."""
    if (
        case.meta is None
        or not case.meta.generation.mode.is_positive
        or crc32(repr((case.query, case.body)).encode()) % 2
    ):
        return
    if isinstance(case.body, dict):
        case.body = _meaningful(case.body)
    case.query.update(namespace="ada")
    if case.operation.path == "/v1/pictures":
        case.query.update(id=ITEM["id"])
    items = {"items": [ITEM | {"image": KNOWN["image"]}]}
    requests.post(f"{URL}/v1/items", params={"namespace": "ada"}, json=items, headers=HEADERS, timeout=60)


@schemathesis.check
def what_is_allowed_is_understood(context: Any, response: Any, case: Any) -> None:
    """OpenAPI says the whole form of a request: none that has it is refused as malformed."""
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if not positive or response.status_code in (405, 413) or not 400 <= response.status_code < 500:
        return
    told = response.json()
    malformed = told.get("type") == "RequestError" or (told.get("error") or {}).get("code") == "invalid_request"
    assert not malformed, f"Called malformed: {response.text}"
