"""JSON schemas as the grammar engine takes them, and how short JSON that fits them can be."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel

Schema = dict[str, Any]
MOST_DIGITS = 18
"""Digits of the longest number: what fits 64 bits."""
_COMBINING = {"anyOf", "oneOf", "$ref", "if", "patternProperties", "unevaluatedProperties"}
"""Beside `properties`, these may allow others."""
_PARTS = ("items", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf", "if", "then", "else")
"""Keywords that hold a schema, or a list of them."""
_NAMED = ("properties", "patternProperties", "$defs", "definitions")
"""Keywords that hold schemas by name."""
_KEYWORDS = set(
    re.findall(
        r"\S+",
        "$anchor $defs $id $ref additionalItems additionalProperties allOf anyOf const contains definitions "
        "dependentRequired dependentSchemas else enum exclusiveMaximum exclusiveMinimum format if items maxContains "
        "maxItems maxLength maxProperties maximum minContains minItems minLength minProperties minimum multipleOf not "
        "oneOf pattern patternProperties prefixItems properties propertyNames required then type unevaluatedItems "
        "unevaluatedProperties uniqueItems",
    )
)
"""What says which values fit. All else describes, as `title` and `discriminator` do; beside a reference the engine
would take it for more to enforce."""
_SCALAR, _PATTERN = 3, 24
"""Tokens that a plain value takes at most where nothing asks for more of it, and one that follows a pattern."""

_DATE = (
    r"(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)-02-29)"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_CLOCK = r"(?:[0-9]{1,5}H(?:[0-9]{1,5}M(?:[0-9]{1,5}S)?)?|[0-9]{1,5}M(?:[0-9]{1,5}S)?|[0-9]{1,5}S)"
_CALENDAR = r"(?:[0-9]{1,3}Y(?:[0-9]{1,3}M(?:[0-9]{1,5}D)?)?|[0-9]{1,3}M(?:[0-9]{1,5}D)?|[0-9]{1,5}D)"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_LABEL = r"[a-zA-Z0-9]{1,30}(?:-[a-zA-Z0-9]{1,30})?"
_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-%s[0-9a-fA-F]{3}-%s[0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": f"P(?:{_CALENDAR}(?:T{_CLOCK})?|T{_CLOCK}|[0-9]{{1,4}}W)",
    "email": rf"[a-zA-Z0-9_+-]{{1,20}}(?:\.[a-zA-Z0-9_+-]{{1,20}}){{0,2}}@(?:{_LABEL}\.){{1,3}}[a-zA-Z]{{2,10}}",
    "uri": (
        rf"https?://(?:(?:{_LABEL}\.){{0,5}}[a-zA-Z]{{1,30}}|(?:{_OCTET}\.){{3}}{_OCTET})(?::[1-9][0-9]{{0,3}})?"
        r"(?:/[a-zA-Z0-9._~!$&'()*+,;=:@%/-]*)?(?:\?[a-zA-Z0-9._~!$&'()*+,;=:@%/?-]*)?(?:#[a-zA-Z0-9._~!$&+,;=:@%/?-]*)?"
    ),
    "uuid": _UUID % ("[0-9a-fA-F]", "[0-9a-fA-F]"),
    **{f"uuid{version}": _UUID % (version, "[89abAB]") for version in range(1, 9)},
    "base64": r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
}
"""What texts of a format look like, where the grammar engine knows the format not at all or lets values through that
Python's types refuse, such as the 30th of February. A `uri` is a web address, since schemas of pydantic do not tell
which schemes a URL may have."""
_ENGINE_FORMATS = {"hostname", "ipv4", "ipv6"}
"""Formats that the engine knows well; texts of all others are free."""


def enforceable(schema: Schema) -> Schema:
    """The schema as the grammar engine enforces it best.

    An object that lists its properties has no others unless the schema says so; JSON Schema would allow any. Objects
    that are put together from several schemas stay as they are: each part would refuse the others' properties. What
    describes values more closely than the engine can, `uniqueItems` and unknown formats, is left out.
    """
    return _enforceable(schema, schema, closes='"allOf"' not in json.dumps(schema))


def whole_schema(written: Schema, source: Any) -> Schema:
    """A schema with what LangChain and LlamaIndex leave out of those that refer to themselves.

    Args:
        written: The schema as a framework wrote it.
        source: The pydantic class or JSON schema that it was written from; with anything else it stays as it is.
    """
    if isinstance(source, type) and issubclass(source, BaseModel):
        source = source.model_json_schema()
    return source if isinstance(source, dict) and _is_recursive(source) else written


def shortest_sizes(schema: Schema, count: Callable[[str], int]) -> tuple[float, float, dict[bytes, float]]:
    """How many tokens JSON of a schema takes at least.

    Args:
        schema: It may refer to itself.
        count: The number of tokens of a text.

    Returns:
        The tokens of the shortest JSON, infinite if there is none that ends; those that a part may add to it which
        need not be there; and by the name of a property, or what it must be, those of the objects that have it, in
        JSON.
    """
    targets = {ref: _target(schema, ref) for ref in _references(schema)}
    least = dict.fromkeys(targets, math.inf)
    for _ in targets:
        least = {ref: _least(target, least, count) for ref, target in targets.items()}
    sizes = [_least(one, least, count) for one in _all(schema)]
    told = dict[bytes, float]()
    for one, size in zip(_all(schema), sizes, strict=True):
        for name, value in one.get("properties", {}).items():
            texts = [name, *([value["const"]] if isinstance(value, dict) and "const" in value else [])]
            for text in texts:
                key = json.dumps(text, ensure_ascii=False).encode()
                told[key] = min(told.get(key, math.inf), size + (name not in one.get("required", ())))
    return sizes[0], max((size for size in sizes[1:] if size < math.inf), default=0), told


def _enforceable(schema: Any, root: Schema, *, closes: bool) -> Any:
    if isinstance(schema, list):
        return [_enforceable(part, root, closes=closes) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closes = closes and not ("properties" in schema and schema.keys() & _COMBINING)
    adapted = {key: value for key, value in schema.items() if key in _KEYWORDS}
    for key in _PARTS:
        if key in schema:
            adapted[key] = _enforceable(schema[key], root, closes=closes)
    for key in _NAMED:
        if key in schema:
            adapted[key] = {name: _enforceable(one, root, closes=closes) for name, one in schema[key].items()}
    if closes and "properties" in schema:
        adapted.setdefault("additionalProperties", False)
    adapted.pop("uniqueItems", None)
    if (names := adapted.pop("propertyNames", None)) and not schema.keys() & {"properties", *_COMBINING}:
        pattern = _pattern(names, root) or "^.*$"
        adapted |= {
            "patternProperties": {pattern: schema.get("additionalProperties", {})},
            "additionalProperties": False,
        }
    if isinstance(name := schema.get("format"), str) and name not in _ENGINE_FORMATS:
        del adapted["format"]
        if name in FORMATS and "pattern" not in schema:
            adapted["pattern"] = _pattern(schema, root)
    if "integer" in _types(schema):
        if not schema.keys() & {"minimum", "exclusiveMinimum"}:
            adapted["minimum"] = 1 - 10**MOST_DIGITS
        if not schema.keys() & {"maximum", "exclusiveMaximum"}:
            adapted["maximum"] = 10**MOST_DIGITS - 1
    return adapted


def _pattern(schema: Any, root: Schema) -> str | None:
    """What texts of a schema look like, if it says that."""
    if not isinstance(schema, dict):
        return None
    if "$ref" in schema:
        schema = _target(root, schema["$ref"])
    if "pattern" in schema:
        return str(schema["pattern"])
    if schema.get("format") in FORMATS:
        return f"^(?:{FORMATS[schema['format']]})$"
    if schema.keys() & {"minLength", "maxLength"}:
        return f"^.{{{schema.get('minLength', 0)},{schema.get('maxLength', '')}}}$"
    texts = [str(text) for text in schema.get("enum", [schema["const"]] if "const" in schema else [])]
    return f"^(?:{'|'.join(map(re.escape, texts))})$" if texts else None


def _types(schema: Schema) -> list[str]:
    types = schema.get("type", [])
    return types if isinstance(types, list) else [types]


def _target(root: Schema, ref: str) -> Any:
    """What a reference within the schema stands for; the grammar engine says which are wrong."""
    target: Any = root
    for key in filter(None, ref.removeprefix("#").split("/")):
        key = unquote(key).replace("~1", "/").replace("~0", "~")
        target = target[int(key)] if isinstance(target, list) else target.get(key, {})
    return target


def _is_recursive(schema: Schema) -> bool:
    held = {ref: _references(_target(schema, ref)) for ref in _references(schema)}
    for _ in held:
        held = {ref: refs.union(*(held.get(other, ()) for other in refs)) for ref, refs in held.items()}
    return any(ref in refs for ref, refs in held.items())


def _references(schema: Any) -> set[str]:
    return {one["$ref"] for one in _all(schema) if isinstance(one.get("$ref"), str)}


def _all(schema: Any) -> Iterator[Schema]:
    """The schema and all that it holds."""
    if isinstance(schema, list):
        for part in schema:
            yield from _all(part)
    elif isinstance(schema, dict):
        yield schema
        for key in _PARTS:
            yield from _all(schema.get(key))
        for key in _NAMED:
            yield from _all(list(schema.get(key, {}).values()))


def _least(schema: Any, least: dict[str, float], count: Callable[[str], int]) -> float:
    """Tokens of the shortest JSON that fits, given those of what is referred to."""

    def of(part: Any) -> float:
        return _least(part, least, count)

    if not isinstance(schema, dict):
        return _SCALAR
    if "$ref" in schema:
        return least[schema["$ref"]]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return min(map(of, schema[key]), default=_SCALAR)
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return min((count(json.dumps(value, ensure_ascii=False)) for value in values), default=_SCALAR)
    size = float(_SCALAR) + sum(map(of, schema.get("allOf", ())))
    size += schema.get("minLength", 0) + (_PATTERN if schema.keys() & {"pattern", "format"} else 0)
    for name in schema.get("required", ()):
        size += count(f'"{name}": ') + 1 + of(schema.get("properties", {}).get(name))
    first = schema.get("prefixItems", [])[: schema.get("minItems", 0)]
    size += sum(1 + of(item) for item in first)
    more = schema.get("minItems", 0) - len(first)
    return size + (more * (1 + of(schema.get("items"))) if more > 0 else 0)
