"""Exact terms of texts and questions."""

import pytest

from comem_memory.retrieval import asked_terms, terms_of
from comem_memory.retrieval.terms import LONGEST, MOST_ASKED, MOST_KEPT


@pytest.mark.parametrize(
    ("question", "terms"),
    [
        ("What is INC-4007 about?", ["inc-4007", "4007"]),
        ("what is inc-4007 about", ["inc-4007", "4007"]),
        ("WHAT IS INC-4007 ABOUT?", ["inc-4007", "4007"]),
        ("\uff29\uff2e\uff23\uff0d\uff14\uff10\uff10\uff17", ["inc-4007", "4007"]),  # full-width letters
        ("我们用K-3852买了什么", ["k-3852", "3852"]),
        ("K-3852로 무엇을 샀나요?", ["k-3852", "3852"]),
        ("เราซื้ออะไรด้วย K-3852", ["k-3852", "3852"]),
        ("Where is RX 4029 881 CZ?", ["4029", "881", "rx", "cz"]),
        ("Mail ann@example.org about config.yaml at 10:30.", ["10:30", "ann@example.org", "config.yaml"]),
        ("Where does Ottilie go? And who is Anna-Lena?", ["ottilie", "anna-lena"]),
        ("Где живёт Амара Окафор?", ["амара", "окафор"]),
        ("Which GPU is in it?", ["gpu"]),
        ("What do I call the elder of my pets?", []),
        ('He said: "Where did we put it?"', []),
        ("HOW DO I OPEN IT?", []),
        ("", []),
        ("...", []),
    ],
)
def test_what_a_question_names(question: str, terms: list[str]):
    assert asked_terms(question) == terms


def test_a_text_is_found_by_its_words_and_by_the_parts_of_joined_ones():
    terms = terms_of("INC-4007: Anna-Lena's Straße, 订单K-3852是 कुंजी 4711")
    assert terms[:4] == ["inc-4007", "k-3852", "4711", "4007"]
    assert set(terms) == {"inc-4007", "inc", "4007", "anna-lena", "anna", "lena", "s", "strasse"} | {
        "k-3852",
        "3852",
        "कुंजी",
        "4711",
    }
    assert terms_of("") == terms_of("你好。") == []


def test_terms_are_bounded_and_codes_come_first():
    long = " ".join(f"{'x' * (n % 90)}y{'z' * (n // 90)}" for n in range(5000)) + " INC-4007 " + "a" * (LONGEST + 1)
    terms = terms_of(long)
    assert len(terms) == MOST_KEPT
    assert terms[0] == "inc-4007"
    assert all(len(term) <= LONGEST for term in terms)
    assert len(asked_terms(" ".join(f"A{n}" for n in range(50)))) == MOST_ASKED


@pytest.mark.parametrize("question", ["Who is İnci Straße?", "wer ist inci-77?", "Where is ΣΊΣΥΦΟΣ-9?"])
def test_a_term_is_found_in_a_text_that_has_it(question: str):
    assert set(asked_terms(question)) <= set(terms_of(question))
