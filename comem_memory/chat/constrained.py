"""Constrained decoding: whatever the model would like to say, what comes out follows a grammar.

The grammar engine is llguidance; what is ours is that an answer also ends: as long as its shortest end fits the tokens
that are left, the model writes what it likes, and then that end, so that a small model that never stops talking still
returns valid JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessor

from comem_memory.chat.schemas import Schema, enforceable, shortest_sizes
from comem_memory.errors import GrammarError

try:
    import llguidance
    from llguidance.hf import from_tokenizer

    from comem_memory.chat.ending import Ending
except ImportError as error:
    raise ImportError(
        "Tool choice and structured output need llguidance. Install it with one of the agent frameworks or the "
        'server: pip install "comem-memory[langchain]", "comem-memory[llama-index]" or "comem-memory[server]".'
    ) from error

_JSON_STYLE = {
    "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "coerce_one_of": True}
}
"""Of `oneOf` the engine would else take only what differs at first sight, to which no reference belongs."""
_SPECIAL = re.compile(rb'["\\]')
MOST_NESTED = 100
"""Objects and arrays in one another after which an answer ends: readers of JSON give up soon after."""


class Vocabulary:
    """A model's tokens as the grammar engine sees them; expensive to make, so make it once.

    Args:
        tokenizer: A fast tokenizer.
        size: Logits per position, which may exceed the tokenizer's own vocabulary.
        stops: Ids that end an answer.
    """

    def __init__(self, tokenizer: Any, size: int, stops: list[int]) -> None:
        self.engine = from_tokenizer(tokenizer, n_vocab=size, eos_token=stops)
        self.size, self.stop_ids = size, stops
        self.stops = self.only(stops)
        texts = [self.bytes_of(token) for token in range(min(size, len(tokenizer)))]
        digits = [len(text) - len(text.lstrip(b"0123456789")) for text in texts]
        self.leading_digits = torch.tensor(digits + [0] * (size - len(digits)), device="cpu")
        self.single = {text[0]: token for token, text in enumerate(texts) if len(text) == 1}
        self.plain = self.only([token for token, text in enumerate(texts) if text == b'"' or not _SPECIAL.search(text)])
        added = tokenizer.added_tokens_encoder.items()
        self.special = {text: token for text, token in added if self.engine.is_special_token(token)}

    def bytes_of(self, token: int) -> bytes:
        return self.engine.decode_bytes([token])

    def count(self, text: str) -> int:
        return len(self.engine.tokenize_str(text))

    def only(self, tokens: list[int]) -> torch.Tensor:
        """These tokens as a mask over the vocabulary."""
        mask = torch.zeros(self.size, dtype=torch.bool, device="cpu")
        mask[tokens] = True
        return mask


@dataclass(frozen=True)
class Form:
    """One form that an answer may have: JSON that fits a schema, between two texts."""

    schema: Schema
    before: str = ""
    after: str = ""


class Constraint(LogitsProcessor):
    """Lets only those tokens through that keep the answer within one of some forms; for one prompt.

    Args:
        vocabulary: The model's tokens.
        forms: What the answer may be.
        max_new_tokens: The answer is complete by then, unless the shortest one is longer.

    Attributes:
        grammar: What follows the forms, in Lark as llguidance reads it.
        hurried: The answer had to be closed before the model would have done so.

    Raises:
        GrammarError: The forms cannot be enforced, say because a schema uses what llguidance does not know.
    """

    def __init__(self, vocabulary: Vocabulary, forms: Sequence[Form], *, max_new_tokens: int) -> None:
        self.vocabulary = vocabulary
        self.grammar = _grammar(forms, lambda text: _literal(text, vocabulary))
        self.matcher = llguidance.LLMatcher(
            vocabulary.engine, llguidance.LLMatcher.grammar_from_lark(self.grammar), log_level=0
        )
        if self.matcher.is_error():
            raise GrammarError(
                f"The schema cannot be enforced: {self.matcher.get_error().splitlines()[0]} Simplify the schema."
            )
        least, jumps, told = zip(*(shortest_sizes(form.schema, vocabulary.count) for form in forms), strict=True)
        if math.inf in least:
            raise GrammarError(
                "JSON of the schema never ends, since it must hold another of its own kind. Make that part optional."
            )
        self.left = max_new_tokens
        self.most_opened = max(jumps)
        sizes = {text: size for one in told for text, size in one.items()}
        self.ending = Ending(llguidance.LLMatcher.grammar_from_lark(_grammar(forms, json.dumps)), sizes)
        self.begun = self.hurried = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.begun:
            token = int(input_ids[0, -1])
            self.matcher.consume_token(token)
            self.ending.write(self.vocabulary.bytes_of(token))
        self.begun = True
        allowed = self._allowed().to(scores.device)
        self.left -= 1
        return scores.masked_fill(~allowed, float("-inf"))

    def _allowed(self) -> torch.Tensor:
        vocabulary = self.vocabulary
        allowed = torch.frombuffer(bytearray(self.matcher.compute_logit_bias()), dtype=torch.uint8) > 0
        if not allowed.any():  # complete
            return vocabulary.stops
        wanted = self._in_time(allowed) & (vocabulary.leading_digits <= self.ending.digits_left)
        return allowed & wanted if (allowed & wanted).any() else allowed

    def _in_time(self, allowed: torch.Tensor) -> torch.Tensor:
        """Of the tokens that are allowed, those after which the answer can still be ended."""
        vocabulary, rest = self.vocabulary, self.ending.rest
        if rest is None:
            return allowed
        is_deep = _nesting(rest) >= MOST_NESTED
        if not is_deep and self.left > len(rest) + 1 + self.most_opened:  # a token has a byte at least
            return allowed
        end = self._tokens(rest)
        if not is_deep and self.left > len(end) + 1 + self.most_opened:
            return allowed
        if self.ending.is_forced:
            return vocabulary.only(end[:1] or vocabulary.stop_ids)
        if self.ending.within_free_text:
            if self.left > len(end) + 1:
                return vocabulary.plain
        elif self.left > len(end):
            rests = self.ending.after()
            fitting = [byte for byte, after in rests.items() if self._fits(after)]
            if tokens := [vocabulary.single[byte] for byte in fitting if byte in vocabulary.single]:
                self.hurried |= len(fitting) < len(rests)
                return vocabulary.only(tokens) | vocabulary.stops
        self.hurried = True
        return vocabulary.only(end[:1] or vocabulary.stop_ids)

    def _fits(self, rest: bytes | None) -> bool:
        """Whether there is room for this end after the next token."""
        if rest is None or _nesting(rest) > MOST_NESTED:
            return False
        return self.left > 1 + len(self.vocabulary.engine.tokenize_bytes(rest))

    def _tokens(self, rest: bytes) -> list[int]:
        for parse_special in (False, True):
            tokens = self.vocabulary.engine.tokenize_bytes(rest, parse_special=parse_special)
            if self.matcher.validate_tokens(tokens) == len(tokens):
                break
        return tokens


def _nesting(rest: bytes) -> int:
    """How many objects and arrays are open, by what ends them."""
    return rest.count(b"}") + rest.count(b"]")


def _literal(text: str, vocabulary: Vocabulary) -> str:
    """A text in a Lark grammar, its special tokens by number."""
    parts = re.split(f"({'|'.join(map(re.escape, vocabulary.special))})", text) if vocabulary.special else [text]
    written = [f"<[{vocabulary.special[p]}]>" if p in vocabulary.special else json.dumps(p) for p in parts if p]
    return " ".join(written)


def _grammar(forms: Sequence[Form], literal: Callable[[str], str]) -> str:
    """The forms as a grammar in Lark, in which texts are written as `literal` does."""
    lines = [f"start: {' | '.join(f'form_{i}' for i in range(len(forms)))}"]
    for i, form in enumerate(forms):
        before, after = (literal(text) if text else "" for text in (form.before, form.after))
        lines += [
            f"form_{i}: {before} value_{i} {after}",
            f"value_{i}: %json {json.dumps(enforceable(form.schema) | _JSON_STYLE)}",
        ]
    return "\n".join(lines)
