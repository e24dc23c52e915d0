"""The made-up website: every task has a right way and a wrong one, over HTTP as in pictures."""

from functools import reduce
from urllib.parse import urlencode, urljoin

import httpx
import pytest

from comem_memory.testing import website as site
from comem_memory.testing.website import MENU, PAGES, TASKS, Action, Task, View, follow, page_picture, steps, website

names = [task.task for task in TASKS]


@pytest.mark.parametrize("task", TASKS, ids=names)
def test_the_right_way_reaches_the_goal_and_the_tempting_one_does_not(task: Task):
    assert reduce(follow, task.actions, View()).text == task.goal
    end = reduce(follow, task.wrong, View())
    assert end.text != task.goal and not (end.page.links or end.page.button)
    pictures, texts = zip(*steps(task.actions), strict=True)
    assert [Action.from_text(text) for text in texts] == list(task.actions)
    assert len({picture.tobytes() for picture in pictures}) == len(task.actions)


def test_pages_are_drawn_apart_and_the_same_each_time():
    drawn = {path: page_picture(View(path)).tobytes() for path in PAGES}
    assert len({*drawn.values()}) == len(PAGES)
    assert page_picture(View("/help")).tobytes() == drawn["/help"]
    assert page_picture(View("/help/moving", typed="3 Harbour Row")).tobytes() != drawn["/help/moving"]


def test_every_page_can_be_reached_and_no_link_is_broken():
    found, new = set(), {"/"}
    while new:
        found |= new
        led = {path for one in new for path in PAGES[one].links.values()} | {*MENU.values()}
        new = (led | {PAGES[one].button[1] for one in new if PAGES[one].button}) - found
    assert found == {*PAGES}


def test_it_is_served_with_what_was_typed_and_no_markup_of_it():
    with website() as url, httpx.Client(base_url=url, trust_env=False) as client:
        for path, page in PAGES.items():
            assert f"<h1>{page.title}</h1>" in client.get(path).text
        saved = urljoin(url, "/done/moved?" + urlencode({"value": "<b>3 Harbour Row"}))
        assert "Parcels now go to &lt;b&gt;3 Harbour Row." in client.get(saved).text
        assert client.get("/nowhere").status_code == 404


def test_an_action_that_a_page_lacks_says_what_it_has():
    with pytest.raises(ValueError, match=r"'Help' does not allow click \"Save\". It has Home, .*, Moving house"):
        follow(View("/help"), site.click("Save"))
    assert Action.from_text("I wait.") is None
