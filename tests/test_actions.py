"""How agents write actions, and how an answer compares with the right one."""

from typing import Any

import pytest

from comem_memory.evaluation.actions import Action, match, read_action
from comem_memory.metrics import contains
from comem_memory.trajectory import action_text


@pytest.mark.parametrize(
    ("written", "action"),
    [
        ("[heading]  CAR -> CLICK", Action("click", "CAR")),
        ("[textbox]  Pick-up city -> TYPE: Old Harbour", Action("type", "Pick-up city", "Old Harbour")),
        ("[combobox]  Sort by -> SELECT: Price", Action("select", "Sort by", "Price")),
        ("[button]  Search -> HOVER", Action("click", "Search")),
        ("[button]   -> CLICK", Action("click")),
        ('click "Help"', Action("click", "Help")),
        ('type "3 Harbour Row" into "Street"', Action("type", "Street", "3 Harbour Row")),
        ('select "blue" from the "Colour"', Action("select", "Colour", "blue")),
        (action_text("click", {"element": "Desk lamp, 20 EUR"}), Action("click", "Desk lamp, 20 EUR")),
        (action_text("type", {"element": "Search", "text": "lamp"}), Action("type", "Search", "lamp")),
        (action_text("scroll", {"direction": "down"}), Action("scroll", "down")),
        ("wait()", Action("wait")),
        ('click(index=5) <button "Help (us)">', Action("click", "Help (us)")),
        ("click_element_by_index(index=5) <svg>", Action("click")),
        ('input_text(index=3, text="desk lamp") <input "Find">', Action("type", "Find", "desk lamp")),
        ('input_text(index=3, text="lamp")\nclick(index=12) <button "Search">', Action("type", "", "lamp")),
        (
            action_text("type", {"element": 'It\'s "x", y', "text": "a=b, c"}),
            Action("type", 'It\'s "x", y', "a=b, c"),
        ),
        ("click(element='Say \"hi\"')", Action("click", 'Say "hi"')),
        ('Action: {"name": "click", "arguments": {"description": "Save", "reasoning": "So"}}', Action("click", "Save")),
        (
            '```json\n{"name": "selection", "arguments": {"description": "Size", "text": "L", "reasoning": ""}}\n```',
            Action("select", "Size", "L"),
        ),
        ("You should click on the Help link.", Action("click", "Help link")),
        ("Type blue into Colour.", Action("type", "Colour", "blue")),
        ('enter "blue" into "Colour"', Action("type", "Colour", "blue")),
        ("", Action("")),
    ],
)
def test_actions_are_read(written: str, action: Action):
    assert read_action(written) == action


def test_an_action_reads_itself():
    for action in (Action("click", "Help"), Action("type", "Street", "3 Harbour Row"), Action("select", "Size", "L")):
        assert read_action(str(action)) == action


@pytest.mark.parametrize(
    "written",
    [
        'click(element="Help")',
        'click(label="Moving house")',
        '{"name":"click","arguments":{"description":"Help"}}',
        'type(element="Name", text="Ada Smith")',
        "type(element='Name', text='Ada Smith')",
        'click(index=5) <button "Search">',
        'input_text(index=3, text="lamp") <input "Find">',
        "[button]  Save -> CLICK",
    ],
)
def test_an_answer_in_the_form_of_the_run_is_right(written: str):
    right = read_action(written)
    assert right.element
    for said in (written, str(right)):
        assert match(said, right).step, said
        assert contains(said, right.element)


@pytest.mark.parametrize(
    ("said", "element", "f1"),
    [
        ('type "3 Harbour Row" into "Street"', True, 1.0),
        ('Type "3 harbour row" into "street".', True, 1.0),
        ('\n1. type "3 Harbour Row" into "Street"\n2. click "Save"', True, 1.0),
        ('click "Help"\ntype "3 Harbour Row" into "Street"', False, 0.0),  # the first line counts
        ('type "3 Harbour Row" into "Streets"', False, 1.0),
        ('click "Street"', True, 0.0),
        ('type "Harbour" into "Street"', True, pytest.approx(2 * 2 / (2 + 4))),
        ("", False, 0.0),
    ],
)
def test_answers_are_compared_with_the_right_action(said: str, element: bool, f1: Any):
    found = match(said, Action("type", "Street", "3 Harbour Row"))
    assert (found.element, found.operation_f1) == (element, f1)
    assert found.step == (element and f1 == 1.0)
