"""The order of what is found, with numbers."""

from datetime import timedelta

import numpy as np
import pytest

from comem_memory.errors import QueryError
from comem_memory.retrieval import ranking
from comem_memory.retrieval.ranking import check_options, evenly, fused, near_first, order, rarities, recencies

DAY = timedelta(days=1)


def test_a_term_counts_less_the_more_items_hold_it():
    held = rarities({"k-3852": ["a"], "anna": ["a", "b"], "mainz": ["a", "b", "c", "d"]})
    assert held == {"a": 1.75, "b": 0.75, "c": 0.25, "d": 0.25}
    assert rarities({}) == {}


def test_a_part_of_a_term_counts_only_where_no_item_holds_the_whole():
    assert rarities({"inc-4007": ["a"], "4007": ["a", "b"]}) == {"a": 1}
    assert rarities({"4007": ["a", "b"]}) == {"a": 0.5, "b": 0.5}


def test_without_terms_similarity_is_the_score():
    assert fused([0.3, 0.9, -0.2], [0, 0, 0]).tolist() == [0.3, 0.9, -0.2]
    assert fused([], []).tolist() == []


def test_ranks_by_meaning_and_by_terms_are_fused():
    scores = fused([0.9, 0.8, 0.7, 0.1], [0, 1, 0, 2])
    assert scores == pytest.approx([1 / 61, 1 / 62 + 1 / 62, 1 / 63, 1 / 64 + 1 / 61])


def test_what_holds_a_term_comes_before_all_that_do_not_however_far():
    similarities = np.linspace(1, -1, ranking.MOST_HOLDING * ranking.WIDER)
    rare = np.zeros(len(similarities))
    rare[-1] = 0.05
    assert int(np.argmax(fused(similarities, rare))) == len(rare) - 1


def test_items_of_equal_terms_stay_in_the_order_of_their_similarity():
    scores = fused([0.1, 0.5, 0.3], [1, 1, 1])
    assert np.argsort(-scores).tolist() == [1, 2, 0]


def test_scores_of_any_scale_become_shares():
    assert evenly([-4, 0, 12]).tolist() == [0, 0.25, 1]
    assert evenly([2.5, 2.5]).tolist() == [1, 1]
    assert evenly([]).tolist() == []


def test_after_a_half_life_an_item_is_half_as_new():
    ages = [timedelta(0), 30 * DAY, 60 * DAY, -DAY]
    assert recencies(ages, 30 * DAY).tolist() == pytest.approx([1, 0.5, 0.25, 1])


def test_the_best_come_first_and_equal_ones_as_they_come():
    assert order(np.array([0.2, 1.0, 0.5, 1.0]), 3) == [1, 3, 2]
    assert order(np.array([]), 3) == []


def test_what_is_like_a_chosen_one_counts_less():
    keys = [np.array([1.0, 0]), np.array([2.0, 0.02]), np.array([0, 3.0])]
    relevances = np.array([1.0, 0.9, 0.4])
    assert order(relevances, 2, keys=keys, diversity=0.0) == [0, 1]
    assert order(relevances, 2, keys=keys, diversity=0.5) == [0, 2]  # 0.45 - 0.5 against 0.2 - 0
    assert order(relevances, 3, keys=keys, diversity=0.1) == [0, 1, 2]
    assert order(relevances, 9, keys=keys, diversity=1.0) == [0, 2, 1]
    assert order(np.array([]), 2, keys=[], diversity=0.5) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"recency": 1.5}, "recency is 1.5"),
        ({"recency": "new"}, "recency is 'new'"),
        ({"diversity": -0.1}, "diversity is -0.1"),
        ({"half_life": 30}, "half_life is 30"),
        ({"half_life": timedelta(0)}, "timedelta"),
        ({"min_similarity": "high"}, "min_similarity is 'high'"),
        ({"min_similarity": float("nan")}, "min_similarity is nan"),
        ({"recency": float("nan")}, "recency is nan"),
    ],
)
def test_options_out_of_their_range_are_refused(options: dict[str, object], said: str):
    with pytest.raises(QueryError, match=said):
        check_options(**options)


@pytest.mark.parametrize(
    ("similarities", "margin", "near"),
    [
        ([0.5, 0.46, 0.44], 0.05, [0, 1]),
        ([0.5, 0.5], 0, [0, 1]),
        ([0.3, 0.6, 0.2], 0.05, [0, 1]),  # a reranker or a term put the first there
        ([0.9, -0.9], 2, [0, 1]),
        ([], 0.05, []),
    ],
)
def test_what_is_near_the_first(similarities: list[float], margin: float, near: list[int]):
    assert near_first(similarities, margin) == near
