"""Constrained decoding: whatever the model would like to say, what comes out follows a grammar.

The grammar engine is llguidance; what is ours is that an answer also ends: when few tokens are left, what closes the
structure goes before everything else, so that a small model that never stops talking still returns valid JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessor

from comem_memory.errors import GrammarError

try:
    import llguidance
    from llguidance.hf import from_tokenizer
except ImportError as error:
    raise ImportError(
        "Tool choice and structured output need llguidance. Install it with one of the agent frameworks: "
        'pip install "comem-memory[langchain]" or "comem-memory[llama-index]".'
    ) from error

Schema = dict[str, Any]
MOST_DIGITS = 18
"""Digits after which a number ends: what fits 64 bits."""
_JSON_STYLE = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
_COMBINING = {"anyOf", "oneOf", "$ref", "if", "patternProperties", "unevaluatedProperties"}
"""Beside `properties`, these may allow others."""
_QUOTE, _BRACE, _LETTER = '"', "}", "z"
_CLOSING = (("}", "]", "null"), ('"',), (",", ", "))
"""What to write when JSON is to end, the most wanted first; within a text only its closing quote ends anything."""


class Vocabulary:
    """A model's tokens as the grammar engine sees them; expensive to make, so make it once.

    Args:
        tokenizer: A fast tokenizer.
        size: Logits per position, which may exceed the tokenizer's own vocabulary.
        stops: Ids that end an answer.
    """

    def __init__(self, tokenizer: Any, size: int, stops: list[int]) -> None:
        self.engine = from_tokenizer(tokenizer, n_vocab=size, eos_token=stops)
        tokens = {self.engine.decode_str([token]): token for token in range(min(size, len(tokenizer)))}
        self.size, self.stop_ids = size, stops
        self.stops = self.only(stops)
        added = tokenizer.added_tokens_encoder.items()
        self.special = {text: token for text, token in added if self.engine.is_special_token(token)}
        self.closing = [self.only([tokens[text] for text in texts if text in tokens]) for texts in (_QUOTE, *_CLOSING)]
        self.marks = [tokens[text] for text in (_QUOTE, _BRACE, _LETTER)]

    def count(self, text: str) -> int:
        return len(self.engine.tokenize_str(text))

    def only(self, tokens: list[int]) -> torch.Tensor:
        """These tokens as a mask over the vocabulary."""
        mask = torch.zeros(self.size, dtype=torch.bool)
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
        max_new_tokens: The answer is complete by then, unless the forms need more than half of them to close.

    Attributes:
        hurried: The answer had to be closed before the model would have done so.

    Raises:
        GrammarError: The forms cannot be enforced, say because a schema uses what llguidance does not know.
    """

    def __init__(self, vocabulary: Vocabulary, forms: Sequence[Form], *, max_new_tokens: int) -> None:
        self.vocabulary = vocabulary
        self.matcher = llguidance.LLMatcher(vocabulary.engine, _grammar(forms, vocabulary), log_level=0)
        if self.matcher.is_error():
            raise GrammarError(
                f"The schema cannot be enforced: {self.matcher.get_error().splitlines()[0]} Simplify the schema."
            )
        self.left = max_new_tokens
        needed = max(vocabulary.count(form.after) + _closing_tokens(form.schema, vocabulary) for form in forms)
        self.reserve = min(needed + 16, max_new_tokens // 2)
        self.begun = self.hurried = False
        self.digits = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.begun:
            token = int(input_ids[0, -1])
            self.matcher.consume_token(token)
            said = self.vocabulary.engine.decode_str([token])
            self.digits = self.digits + len(said) if said.isdecimal() else 0
        self.begun = True
        allowed = self._allowed().to(scores.device)
        self.left -= 1
        return scores.masked_fill(~allowed, float("-inf"))

    def _allowed(self) -> torch.Tensor:
        vocabulary = self.vocabulary
        allowed = torch.frombuffer(bytearray(self.matcher.compute_logit_bias()), dtype=torch.uint8) > 0
        if not allowed.any():  # complete
            return vocabulary.stops
        within_text = bool(allowed[vocabulary.marks].all())  # elsewhere a letter cannot follow where a brace can
        if self.left <= self.reserve or (self.digits >= MOST_DIGITS and not within_text):
            quote, *closing = vocabulary.closing
            for better in (vocabulary.stops, *([quote] if within_text else closing)):
                if (allowed & better).any():
                    self.hurried |= bool((allowed & ~better).any())
                    return allowed & better
        return allowed


def _literal(text: str, vocabulary: Vocabulary) -> str:
    """A text in a Lark grammar, its special tokens by number."""
    parts = re.split(f"({'|'.join(map(re.escape, vocabulary.special))})", text) if vocabulary.special else [text]
    written = [f"<[{vocabulary.special[p]}]>" if p in vocabulary.special else json.dumps(p) for p in parts if p]
    return " ".join(written)


def _grammar(forms: Sequence[Form], vocabulary: Vocabulary) -> str:
    lines = [f"start: {' | '.join(f'form_{i}' for i in range(len(forms)))}"]
    for i, form in enumerate(forms):
        before, after = (_literal(text, vocabulary) for text in (form.before, form.after))
        lines += [
            f"form_{i}: {before} value_{i} {after}",
            f"value_{i}: %json {json.dumps(_closed(form.schema) | _JSON_STYLE)}",
        ]
    return str(llguidance.LLMatcher.grammar_from_lark("\n".join(lines)))


def _closed(schema: Schema) -> Schema:
    """An object that lists its properties has no others unless the schema says so; JSON Schema would allow any.

    Objects that are put together from several schemas stay as they are: each part would refuse the others' properties.
    """
    return schema if '"allOf"' in json.dumps(schema) else _without_others(schema)


def _without_others(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_others(part) for part in schema]
    if not isinstance(schema, dict) or ("properties" in schema and schema.keys() & _COMBINING):
        return schema
    closed = dict(schema)
    for key in ("items", "prefixItems", "anyOf", "oneOf", "additionalProperties"):
        if key in schema:
            closed[key] = _without_others(schema[key])
    for key in ("properties", "$defs", "definitions"):
        if key in schema:
            closed[key] = {name: _without_others(one) for name, one in schema[key].items()}
    if "properties" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


def _closing_tokens(schema: Any, vocabulary: Vocabulary) -> int:
    """Tokens that JSON of this schema may need to close: every property's name, and a few for its value."""
    if isinstance(schema, list):
        return sum(_closing_tokens(part, vocabulary) for part in schema)
    if not isinstance(schema, dict):
        return 0
    properties = schema.get("properties", {})
    named = sum(
        vocabulary.count(f'"{name}": ') + 4 + _closing_tokens(one, vocabulary) for name, one in properties.items()
    )
    parts = [value for key, value in schema.items() if key in ("items", "prefixItems", "anyOf", "oneOf", "allOf")]
    parts += [*properties.values(), *schema.get("$defs", {}).values()]
    return named + _closing_tokens(parts, vocabulary)
