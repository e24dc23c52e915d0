"""Exact terms: the words of a text, and those of a question that name what is looked for.

Vectors hold what a text means, and hardly tell one code from another. A code, a file's name, a ticket's number or a
person's name is looked up as it is written instead. Other words are not: they stand in other items as well, and what
they mean is in the vectors (docs/guides/retrieval.md has both measured).

| a question's word is a term | for instance |
|---|---|
| it has a digit, or one of `.` `_` `/` `@` `:` `#` within | INC-4007, config.yaml, user_id, ann@example.org |
| it has a capital that is not its first letter | GPU, McIntyre |
| it has a capital, and does not begin a sentence | Ottilie, Mainz, Zahnarzt |

Scripts without spaces between words are left to the vectors, and the codes within them are not.
"""

from __future__ import annotations

import unicodedata

import regex

LONGEST = 100
"""Characters of a term: what is longer is data, not a name."""
MOST_KEPT = 2000
"""Terms of a text: SQLite, and so Chroma, takes no more than 5461 a record."""
MOST_ASKED = 8
"""Terms of a question, each of which takes a look-up; the first ones that have digits, then the first others."""

_SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTER = rf"[\p{{L}}\p{{M}}\p{{N}}_--[{_SPACELESS}\p{{Hangul}}]]"
_WORD = regex.compile(rf"(?V1)\p{{Hangul}}+|{_LETTER}+(?:[-./@:+#&]{_LETTER}+)*")  # Korean endings stand at codes
_PART = regex.compile(r"[^-./@:+#&_]+")
_SIGN_WITHIN = regex.compile(r"[^\W_][._/@:#]+[^\W_]")
_CAPITAL_WITHIN = regex.compile(r".\p{Lu}")
_ENDS = regex.compile(r"[.!?:;…\n\"“«(]")


def terms_of(text: str) -> list[str]:
    """Under which terms a text is found: its words, and the parts of those that are joined by signs.

    Each once, those with digits first; of a long text the first `MOST_KEPT`.
    """
    words = [word.group() for word in _WORD.finditer(_plain(text).casefold())]
    parts = [part for word in words for part in _PART.findall(word) if len(part) > 1]
    terms = [term for term in dict.fromkeys([*words, *parts]) if len(term) <= LONGEST]
    return sorted(terms, key=lambda term: not _has_digit(term))[:MOST_KEPT]


def asked_terms(question: str) -> list[str]:
    """The terms that a question names what it looks for by, those with digits first; at most `MOST_ASKED`."""
    question = _plain(question)
    cased = any(letter.islower() for letter in question)
    numbered, named, end = list[str](), list[str](), 0
    for found in _WORD.finditer(question):
        word, begins = found.group(), end == 0 or _ENDS.search(question, end, found.start()) is not None
        end = found.end()
        capital = cased and (_CAPITAL_WITHIN.search(word) or (word[0].isupper() and len(word) > 1 and not begins))
        if _has_digit(word):
            numbered += [word, *(part for part in _PART.findall(word) if len(part) > 2 and _has_digit(part))]
        elif capital or _SIGN_WITHIN.search(word):
            named.append(word)
    terms = dict.fromkeys(term.casefold() for term in (*numbered, *named) if len(term) <= LONGEST)
    return list(terms)[:MOST_ASKED]


def _has_digit(word: str) -> bool:
    return any(letter.isdigit() for letter in word)


def _plain(text: str) -> str:
    """The text with one form of each character, so that full-width digits are digits."""
    return unicodedata.normalize("NFKC", text)
