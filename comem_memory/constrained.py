"""Constrained decoding: whatever the model would like to say, what comes out follows a grammar.

The grammar engine is llguidance; what is ours is that an answer also ends: when few tokens are left, what closes the
structure goes before everything else, so that a small model that never stops talking still returns valid JSON.
"""

from __future__ import annotations

import json
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
"""Tokens of digits after which a number ends: what fits 64 bits."""
_JSON_STYLE = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
_QUOTE, _BRACE, _LETTER = '"', "}", "z"
_CLOSING = (("}", "]", "null"), ('"',), (",", ", "))
"""What to write when JSON is to end, the most wanted first; within a text only its closing quote ends anything."""


class Vocabulary:
    """A model's tokens as the grammar engine sees them; expensive to make, so make it once.

    Args:
        tokenizer: a fast tokenizer.
        size: logits per position, which may exceed the tokenizer's own vocabulary.
        stops: ids that end an answer.
    """

    def __init__(self, tokenizer: Any, size: int, stops: list[int]) -> None:
        self.stops = stops
        self.engine = from_tokenizer(tokenizer, n_vocab=size, eos_token=stops)
        tokens = {self.engine.decode_str([token]): token for token in range(min(size, len(tokenizer)))}
        self.size = size
        self.closing = [self.only([tokens[text] for text in texts if text in tokens]) for texts in (_QUOTE, *_CLOSING)]
        self.marks = [tokens[text] for text in (_QUOTE, _BRACE, _LETTER)]

    def only(self, tokens: list[int]) -> torch.Tensor:
        """These tokens as a mask over the vocabulary."""
        mask = torch.zeros(self.size, dtype=torch.bool)
        mask[tokens] = True
        return mask


class Constraint(LogitsProcessor):
    """Lets only those tokens through that keep the answer within a grammar; for one prompt.

    Args:
        vocabulary: of the model.
        grammar: see `json_grammar` and `lark_grammar`.
        max_new_tokens: the answer is complete by then, unless the grammar needs more than half of them to close.
        reserve: so many tokens before, closing begins.

    Raises:
        GrammarError: the grammar cannot be compiled, say because the JSON schema uses what llguidance does not know.
    """

    def __init__(self, vocabulary: Vocabulary, grammar: str, *, max_new_tokens: int, reserve: int) -> None:
        self.vocabulary = vocabulary
        self.matcher = llguidance.LLMatcher(vocabulary.engine, grammar, log_level=0)
        if self.matcher.is_error():
            raise GrammarError(
                f"The schema cannot be enforced: {self.matcher.get_error().splitlines()[0]} Simplify the schema."
            )
        self.left = max_new_tokens
        self.reserve = min(reserve, max_new_tokens // 2)
        self.begun = False
        self.digits = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.begun:
            token = int(input_ids[0, -1])
            self.matcher.consume_token(token)
            self.digits = self.digits + 1 if self.vocabulary.engine.decode_str([token]).isdecimal() else 0
        self.begun = True
        allowed = self._allowed().to(scores.device)
        self.left -= 1
        return scores.masked_fill(~allowed, float("-inf"))

    def _allowed(self) -> torch.Tensor:
        vocabulary = self.vocabulary
        allowed = torch.frombuffer(bytearray(self.matcher.compute_logit_bias()), dtype=torch.uint8) > 0
        stops = vocabulary.only(vocabulary.stops)
        if not allowed.any():  # complete
            return stops
        within_text = bool(allowed[vocabulary.marks].all())  # elsewhere a letter cannot follow where a brace can
        if self.left <= self.reserve or (self.digits >= MOST_DIGITS and not within_text):
            quote, *closing = vocabulary.closing
            for better in (stops, *([quote] if within_text else closing)):
                if (allowed & better).any():
                    return allowed & better
        return allowed


def json_grammar(schema: Schema) -> str:
    """The grammar of JSON that fits a schema."""
    return str(llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema | _JSON_STYLE)))


def lark_grammar(before: str, schema: Schema, after: str) -> str:
    """The grammar of JSON that fits a schema, between two texts."""
    value = f"%json {json.dumps(schema | _JSON_STYLE)}"
    parts = [json.dumps(before), "value", json.dumps(after)] if before else ["value"]
    return str(llguidance.LLMatcher.grammar_from_lark(f"start: {' '.join(parts)}\nvalue: {value}"))
