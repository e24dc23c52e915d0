"""Which tokens tell little of an item: counted in typical ones, so that it needs no list of words in any language."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from comem_memory.model import Backbone

FREQUENT = 0.001
"""Share of all words from which on one without a digit is a function word."""


def function_tokens(backbone: Backbone, texts: Iterable[str]) -> list[int]:
    """Ids of the tokens that are frequent words or punctuation marks, the most frequent first.

    Pieces of words do not count, for names and codes are made of them.

    Args:
        backbone: Whose tokens.
        texts: Typical items.
    """
    counts = Counter(word for text in texts for word in re.findall(r"\w+|[^\w\s]", text))
    least = FREQUENT * counts.total()
    frequent = [word for word, count in counts.most_common() if count > least and not re.search(r"\d", word)]
    forms = (backbone.prompts.text_ids(form) for word in frequent for form in (f" {word}", word))
    return list(dict.fromkeys(ids[0] for ids in forms if len(ids) == 1))
