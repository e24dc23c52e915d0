"""Words that made-up names may be made of."""

from __future__ import annotations

import re
from collections.abc import Container

from comem_memory.model import Backbone
from comem_memory.synthesis import countries


def vocabulary_words(backbone: Backbone, *, but: Container[str] = ()) -> list[str]:
    """Capitalised words that are one token of the model, without those in `but`: names that are easy to spell."""
    words = {backbone.prompts.spell(token) for token in backbone.prompts.tokenizer.get_vocab().values()}
    return sorted(w[1:] for w in words if re.fullmatch(" [A-Z][a-z]{2,}", w) and w[1:] not in but)


def country_words() -> set[str]:
    """Every word of what the countries' questions and answers say."""
    said = (f"{question.text} {question.answer}" for row in countries.rows() for question in countries.questions(row))
    return {word for text in said for word in re.findall(r"\w+", text)}
