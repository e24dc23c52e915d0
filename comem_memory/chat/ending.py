"""How JSON that was begun is ended soonest: what must still be written, worked out by the grammar engine."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping

import llguidance

from comem_memory.chat.schemas import MOST_DIGITS

MOST_EXPONENT_DIGITS = 2
_BYTES = llguidance.LLTokenizer("byte")
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_NUMBER = b"0123456789.eE+-"
_FIRST = b'}],n0"123456789tf-[{'
"""What to write outside texts, the soonest ended first."""
_PLAIN = bytes(range(32, 127)).replace(b"\\", b"")
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*\Z', re.DOTALL)
_DIGITS = re.compile(rb"([eE][+-]?)?([0-9]*)\Z")
_TO_QUOTE = re.compile(rb'(?:[^"\\]|\\.)*"', re.DOTALL)
_LONGEST, _LONGEST_VALUE = 100_000, 2_000
"""Bytes of an end, and of what ends a text or a number, that are not searched further."""


class Ending:
    """The end of an answer that follows a grammar, kept up while the answer is written.

    Args:
        grammar: A grammar of llguidance that needs no special tokens.
        sizes: By text in JSON, how large what it begins is at least: of several texts the smallest is taken.

    Attributes:
        rest: The bytes after which the answer is complete; `None` if no end was found.
    """

    def __init__(self, grammar: str, sizes: Mapping[bytes, float]) -> None:
        self._matcher = llguidance.LLMatcher(_BYTES, grammar, log_level=0)
        self._sizes = sizes
        self._written = b""
        self.rest = self._shortest()

    @property
    def digits_left(self) -> float:
        """Digits that may come next, so that a number is finite and fits 64 bits; in a text any number of them."""
        number = _DIGITS.search(self._written)
        if number is None or _within_text(self._written):
            return math.inf
        return (MOST_EXPONENT_DIGITS if number[1] else MOST_DIGITS) - len(number[2])

    @property
    def is_forced(self) -> bool:
        """Whether only one byte may come next, or none."""
        return self._matcher.is_stopped() or bool(self._matcher.compute_ff_bytes())

    @property
    def within_free_text(self) -> bool:
        """Whether a text has begun that may end, or go on with whatever letters."""
        return _within_text(self._written) and _without(b'"' + _PLAIN, _allowed(self._matcher)) == b""

    def after(self) -> dict[int, bytes | None]:
        """What `rest` would be after each byte that may come next."""
        alike: dict[tuple[bytes, bytes], list[int]] = {}
        for byte in _allowed(self._matcher):
            self._matcher.consume_token(byte)
            alike.setdefault((self._matcher.compute_ff_bytes(), self._matcher.compute_logit_bias()), []).append(byte)
            self._matcher.rollback(1)
        rests: dict[int, bytes | None] = {}
        for some in alike.values():
            ending = copy.copy(self)
            ending._matcher = self._matcher.deep_copy()
            ending.write(bytes(some[:1]))
            rests |= dict.fromkeys(some, ending.rest)
        return rests

    def write(self, piece: bytes) -> None:
        """Goes on with the answer."""
        self._matcher.consume_tokens(list(piece))
        self._written += piece
        known = () if self.rest is None else (self.rest[len(piece) :], self.rest)
        self.rest = next((rest for rest in known if self._ends(rest)), None)
        if self.rest is None:
            self.rest = self._shortest()

    def _ends(self, rest: bytes) -> bool:
        matcher = self._matcher.deep_copy()
        return matcher.consume_tokens(list(rest)) and matcher.is_accepting()

    def _shortest(self) -> bytes | None:
        matcher, rest = self._matcher.deep_copy(), b""
        while not matcher.is_accepting():
            step = matcher.compute_ff_bytes() or self._step(matcher, self._written + rest)
            if not step or len(rest) > _LONGEST:
                return None
            matcher.consume_tokens(list(step))
            rest += step
        return rest

    def _step(self, matcher: llguidance.LLMatcher, text: bytes) -> bytes | None:
        """What ends soonest what is open."""
        allowed = _allowed(matcher)
        if _within_text(text):
            begun = _TEXT.search(text)
            if begun is None:  # in the middle of an escape
                return b"n" if ord("n") in allowed else allowed[:1]
            return b'"' if _QUOTE in allowed else self._to_end(matcher, begun[0])
        if text[-1:] in _NUMBER:  # also of nothing
            if text and not (ends := _without(allowed, _NUMBER)):
                return self._to_end(matcher, b"")
            allowed = ends if text else allowed
        return next((bytes([byte]) for byte in _FIRST if byte in allowed), allowed[:1])

    def _to_end(self, matcher: llguidance.LLMatcher, begun: bytes) -> bytes | None:
        """The rest of a text, with its quote, or of a number.

        Args:
            matcher: Where it stands.
            begun: The text's beginning, with its quote; nothing for a number.
        """
        found: list[bytes] = []
        states, rounds = [(matcher, b"")], _LONGEST_VALUE
        while states and rounds:
            rounds -= 1
            reached: dict[tuple[bytes, bytes], tuple[llguidance.LLMatcher, bytes]] = {}
            for state, piece in states:
                allowed = _allowed(state)
                if begun and _QUOTE in allowed:
                    found.append(piece + b'"')
                elif not begun and (state.is_accepting() or _without(allowed, _NUMBER)):
                    found.append(piece)
                else:
                    for byte in bytes(b for b in allowed if b in _PLAIN) or allowed:
                        state.consume_token(byte)
                        forced, after = state.compute_ff_bytes(), state.compute_logit_bias()
                        if (forced, after) not in reached:
                            reached[forced, after] = (_after(state, forced), piece + bytes([byte]) + forced)
                        state.rollback(1)
            states = []
            for state, piece in reached.values():
                if begun and (whole := _TO_QUOTE.match(piece)):
                    found.append(whole[0])
                else:
                    states.append((state, piece))
            rounds = min(rounds, 2) if found else rounds  # others may be longer and begin less
        return min(found, key=lambda piece: (self._sizes.get(begun + piece, 0), len(piece)), default=None)


def _after(matcher: llguidance.LLMatcher, text: bytes) -> llguidance.LLMatcher:
    matcher = matcher.deep_copy()
    matcher.consume_tokens(list(text))
    return matcher


def _allowed(matcher: llguidance.LLMatcher) -> bytes:
    """The bytes that may come next."""
    return bytes(byte for byte, is_allowed in enumerate(matcher.compute_logit_bias()[:256]) if is_allowed)


def _without(some: bytes, others: bytes) -> bytes:
    return bytes(byte for byte in some if byte not in others)


def _within_text(json: bytes) -> bool:
    return re.sub(rb"\\.", b"", json, flags=re.DOTALL).count(b'"') % 2 == 1
