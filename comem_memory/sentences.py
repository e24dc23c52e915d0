"""Sentences of a text, in any script."""

from __future__ import annotations

import re

_CLOSING = "\"'\u201d\u2019\u00bb)\\]\u300d\u300f\uff09"
_SENTENCE = re.compile(
    rf".+?(?:(?:[.!?…\u037e\u055e\u061f\u06d4\u0964\u1362\u1367]|(?<=[\u0370-\u03ff]);)+[{_CLOSING}]*(?=\s|$)"
    rf"|[\u3002\uff01\uff1f\uff61]+[{_CLOSING}]*|\n|$)\s*",
    re.DOTALL,
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(.\u3040-\u30ff\u3400-\u9fff])(?:[^\W\d_]"
    r"|(?<!\.)(?!(?:[ckm]?m|[km]g|ft|lbs?)\b)[bcdfghjklmnpqrstvwxz]{2,3})\.\s*$",
    re.IGNORECASE,
)
"""A point after one letter, or after consonants alone that are no unit, ends no sentence: Dr. Novak, z. B.,
医生是Dr. Novak."""


def sentences(text: str) -> list[str]:
    """The text in pieces, with the spaces behind each; a line ends one too."""
    pieces: list[str] = []
    for piece in _SENTENCE.findall(text):
        if pieces and _ABBREVIATION.search(pieces[-1]):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces
