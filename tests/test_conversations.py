"""Scripted conversations, and what is measured of an agent that takes part in them."""

from collections import Counter

import pytest

from comem_memory.evaluation.agents import EveryTurn
from comem_memory.evaluation.conversations import AGAIN, APART, LANGUAGES, MEASURES, Turn, contains, conversation, run
from comem_memory.testing import tiny_key


class Notebook:
    """Knows the script: recalls exactly what holds."""

    name = "notebook"

    def __init__(self) -> None:
        self.known: dict[str, dict[str, str]] = {}

    def say(self, turn: Turn) -> list[str]:
        mine = self.known.setdefault(turn.user, {})
        if turn.kind in ("told", "again", "corrected", "contradicted", "statement"):
            mine[turn.value or turn.text] = turn.text
        return [mine[turn.value]] if turn.about not in (None, "forgotten", "never said") else []

    def kept(self, user: str) -> list[str]:
        return list(self.known[user].values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_hundred_turns_of_which_thirty_state_something(language: str):
    turns = conversation(language, 3)
    assert turns == conversation(language, 3) != conversation(language, 4)
    users = {turn.user for turn in turns}
    assert len(users) == 2
    for user in users:
        mine = [turn for turn in turns if turn.user == user]
        kinds = Counter(turn.kind for turn in mine)
        assert len(mine) == 100
        assert sum(kinds[kind] for kind in ("told", "again", "corrected", "contradicted", "statement")) == 30
        asked = Counter(turn.about for turn in mine if turn.kind == "question" and turn.round == 5)
        assert asked == {"corrected": 3, "contradicted": 1, "forgotten": 1, "time": 4}
    told = [(turn.user, turn.value) for turn in turns if turn.kind in ("told", "corrected", "contradicted")]
    assert len({value for _, value in told}) == len(told), "no value stands for two things"


def test_who_remembers_what_was_said_is_right_in_everything():
    result = run(Notebook(), languages=["english", "chinese"])
    assert {name: right / all for name, (right, all) in result.shares.items()} == dict.fromkeys(result.shares, 1.0)
    assert set(result.shares) == {*MEASURES, AGAIN, APART} - {"told: answered"}
    assert result.kept == 27, "30 statements, of which three say again what was told"


def test_who_keeps_every_turn_recalls_questions():
    embedder = tiny_key().text
    assert embedder is not None
    result = run(EveryTurn(embedder), languages=["german"])
    assert result.shares["told: first, after each was asked three times"][0] <= 9, (
        "half, by an embedder that only counts letters"
    )
    assert result.kept == 99, "all but the one that was forgotten"
    assert result.shares[APART] == (114, 114)


def test_values_stand_in_texts_as_a_whole():
    assert contains("我的柜子是318号。", "318") and contains("My locker is 318.", "318")
    assert not contains("It is 3180.", "318") and not contains("AB318", "318")
