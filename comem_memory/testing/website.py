"""A small made-up website with tasks, for agents that use a browser: as pages over HTTP, and as pictures without one.

The shop "Lantern and Loom" has a menu, pages and forms. Each task of `TASKS` has one right way, which is not where a
visitor looks first, and a tempting one that leads nowhere. What a page shows depends on its address alone, so that
nothing is ever changed and every run sees the same.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from textwrap import wrap
from typing import Literal
from urllib.parse import parse_qs, quote, urlsplit

from PIL import Image, ImageDraw, ImageFont

PICTURE_SIZE = (640, 400)
"""Width and height of a page's picture, in pixels."""


@dataclass(frozen=True)
class Action:
    """What an agent does on a page; as text `click "Help"` or `type "3 Harbour Row" into "Street"`.

    Args:
        kind: `click` a link or button, or `type` into a field.
        label: What stands on the link, button or field.
        text: What is typed.
    """

    kind: Literal["click", "type"]
    label: str
    text: str = ""

    def __str__(self) -> str:
        return f'click "{self.label}"' if self.kind == "click" else f'type "{self.text}" into "{self.label}"'

    @classmethod
    def from_text(cls, text: str) -> Action | None:
        """The first action that a text names, or `None`."""
        found = re.search(r'click "([^"]*)"|type "([^"]*)" into "([^"]*)"', text)
        if found is None:
            return None
        clicked, typed, label = found.groups()
        return cls("type", label, typed) if clicked is None else cls("click", clicked)


def click(label: str) -> Action:
    return Action("click", label)


def type_into(label: str, text: str) -> Action:
    return Action("type", label, text)


@dataclass(frozen=True)
class Task:
    """Something to do on the website, beginning at its first page.

    Args:
        task: What is to be done.
        reworded: The same in other words, as it may be asked a second time.
        actions: The right way.
        wrong: The way that tempts, and leads to a page from which the task is not done.
        goal: What the page says once it is done.
    """

    task: str
    reworded: str
    actions: tuple[Action, ...]
    wrong: tuple[Action, ...]
    goal: str


@dataclass(frozen=True)
class Page:
    """A page of the website.

    Args:
        title: Its heading.
        text: What it says; `{value}` is what was typed on the page before.
        links: Paths of pages by their labels.
        field: The label of a field to type into.
        button: A button's label and the path that it leads to.
    """

    title: str
    text: str
    links: Mapping[str, str] = field(default_factory=dict)
    field: str | None = None
    button: tuple[str, str] | None = None


@dataclass(frozen=True)
class View:
    """What a visitor has before them.

    Args:
        path: The page's path.
        value: What was typed on the page before.
        typed: What stands in the page's field.
    """

    path: str = "/"
    value: str = ""
    typed: str = ""

    @property
    def page(self) -> Page:
        return PAGES[self.path]

    @property
    def text(self) -> str:
        return self.page.text.format(value=self.value)


SHOP = "Lantern and Loom"
MENU = {
    "Home": "/",
    "Shop": "/shop",
    "Offers": "/offers",
    "Orders": "/orders",
    "Delivery": "/delivery",
    "Account": "/account",
    "Help": "/help",
}
"""Links on every page."""

PAGES: dict[str, Page] = {
    "/": Page(SHOP, "Lamps and blankets, made by hand. Welcome back!"),
    "/shop": Page("Shop", "What we make.", {"Lamps": "/shop/lamps", "Blankets": "/shop/blankets"}),
    "/shop/lamps": Page(
        "Lamps", "Light for every corner.", {"Reading lamp": "/shop/reading", "Storm lantern": "/shop/storm"}
    ),
    "/shop/blankets": Page("Blankets", "Wool and linen. The looms are busy until autumn."),
    "/shop/reading": Page(
        "Reading lamp", "Brass, 40 cm. You like this lamp.", {"Who likes this": "/shop/reading/liked"}
    ),
    "/shop/reading/liked": Page(
        "Who likes the reading lamp", "You and 12 others.", button=("Not me any more", "/done/unliked")
    ),
    "/shop/storm": Page("Storm lantern", "Burns in any wind. Sold out."),
    "/offers": Page("Offers", "For less.", {"Sale of the week": "/offers/sale", "Gift cards": "/offers/cards"}),
    "/offers/sale": Page("Sale of the week", "Grey blankets at half the price.", {"Small print": "/offers/print"}),
    "/offers/print": Page(
        "Small print", "The sale is announced by letter each Monday.", button=("Stop the letters", "/done/letters")
    ),
    "/offers/cards": Page("Gift cards", "A present for anyone. They are sold in our shops, and not used up here."),
    "/orders": Page("Orders", "Two are on their way.", {"Order 1058": "/orders/1058", "Papers": "/orders/papers"}),
    "/orders/1058": Page("Order 1058", "One storm lantern, delivered. Thank you!"),
    "/orders/papers": Page("Papers", "Certificates of the wool we use.", {"Older papers": "/orders/older"}),
    "/orders/older": Page("Older papers", "By month.", {"February": "/done/february", "March": "/done/march"}),
    "/delivery": Page(
        "Delivery",
        "It takes two to four days.",
        {"Where we deliver": "/delivery/where", "Prices": "/delivery/prices"},
    ),
    "/delivery/where": Page("Where we deliver", "To every street in the country. An address is not changed here."),
    "/delivery/prices": Page("Prices of delivery", "Small parcels 4, large ones 9."),
    "/account": Page(
        "Account",
        "Hello again.",
        {
            "Password": "/account/password",
            "Letters": "/account/letters",
            "Wish list": "/account/wishes",
            "Devices": "/account/devices",
            "Purse": "/account/purse",
        },
    ),
    "/account/password": Page("Password", "A good one has twelve letters. It is not changed here."),
    "/account/letters": Page("Letters", "You get one letter each Monday. They are not stopped here."),
    "/account/wishes": Page("Wish list", "Reading lamp. Nothing is removed here."),
    "/account/devices": Page("Devices", "One phone, one computer.", {"Lost one": "/account/lost"}),
    "/account/lost": Page(
        "A lost device", "Choose a new password.", field="New password", button=("Save", "/done/password")
    ),
    "/account/purse": Page("Purse", "It is empty.", field="Code", button=("Fill up", "/done/purse")),
    "/help": Page(
        "Help",
        "What is it about?",
        {
            "Invoices": "/help/invoices",
            "Moving house": "/help/moving",
            "Something is broken": "/help/broken",
            "Contact": "/help/contact",
        },
    ),
    "/help/invoices": Page("Invoices", "An invoice says what was paid. It is not shown here."),
    "/help/moving": Page("Moving house", "Tell us where you live now.", field="Street", button=("Save", "/done/moved")),
    "/help/broken": Page("Something is broken", "We are sorry! What is it?", {"A lantern": "/help/lantern"}),
    "/help/lantern": Page("A broken lantern", "Wipe the glass first.", button=("It is still broken", "/done/return")),
    "/help/contact": Page(
        "Contact", "We like to hear from you.", {"Telephone": "/help/telephone", "Nobody answers": "/help/nobody"}
    ),
    "/help/telephone": Page("Telephone", "Call 555 0100. All lines are busy."),
    "/help/nobody": Page("Nobody answers", "When are you at home?", field="Hour", button=("Call me", "/done/call")),
    "/done/unliked": Page("Reading lamp", "The reading lamp is no longer on your wish list."),
    "/done/letters": Page("Small print", "No more letters will be sent to you."),
    "/done/february": Page("February", "Invoice of February: 18."),
    "/done/march": Page("March", "Invoice of March: 54."),
    "/done/password": Page("Devices", "Your password is now {value}."),
    "/done/purse": Page("Purse", "The gift card {value} is in your purse."),
    "/done/moved": Page("Moving house", "Parcels now go to {value}."),
    "/done/return": Page("A broken lantern", "Send the lantern back to us, at no cost."),
    "/done/call": Page("Contact", "We will call you at {value}."),
}
"""Every page by its path."""

TASKS = (
    Task(
        "Change the delivery address to 3 Harbour Row.",
        "Let my parcels come to 3 Harbour Row from now on.",
        (click("Help"), click("Moving house"), type_into("Street", "3 Harbour Row"), click("Save")),
        (click("Delivery"), click("Where we deliver")),
        "Parcels now go to 3 Harbour Row.",
    ),
    Task(
        "Find the invoice of March.",
        "I need the bill from March.",
        (click("Orders"), click("Papers"), click("Older papers"), click("March")),
        (click("Help"), click("Invoices")),
        "Invoice of March: 54.",
    ),
    Task(
        "Send the storm lantern back.",
        "The storm lantern is to be returned.",
        (click("Help"), click("Something is broken"), click("A lantern"), click("It is still broken")),
        (click("Orders"), click("Order 1058")),
        "Send the lantern back to us, at no cost.",
    ),
    Task(
        "Cancel the newsletter.",
        "Stop sending me the newsletter every Monday.",
        (click("Offers"), click("Sale of the week"), click("Small print"), click("Stop the letters")),
        (click("Account"), click("Letters")),
        "No more letters will be sent to you.",
    ),
    Task(
        "Use the gift card LOOM-250.",
        "Put my gift card LOOM-250 to use.",
        (click("Account"), click("Purse"), type_into("Code", "LOOM-250"), click("Fill up")),
        (click("Offers"), click("Gift cards")),
        "The gift card LOOM-250 is in your purse.",
    ),
    Task(
        "Ask to be called at 9 o'clock.",
        "Have the shop ring me at 9 o'clock.",
        (click("Help"), click("Contact"), click("Nobody answers"), type_into("Hour", "9 o'clock"), click("Call me")),
        (click("Help"), click("Contact"), click("Telephone")),
        "We will call you at 9 o'clock.",
    ),
    Task(
        "Change the password to violet-moth.",
        "My new password should be violet-moth.",
        (
            click("Account"),
            click("Devices"),
            click("Lost one"),
            type_into("New password", "violet-moth"),
            click("Save"),
        ),
        (click("Account"), click("Password")),
        "Your password is now violet-moth.",
    ),
    Task(
        "Remove the reading lamp from the wish list.",
        "I no longer wish for the reading lamp.",
        (click("Shop"), click("Lamps"), click("Reading lamp"), click("Who likes this"), click("Not me any more")),
        (click("Account"), click("Wish list")),
        "The reading lamp is no longer on your wish list.",
    ),
)
"""What there is to do."""


def follow(view: View, action: Action) -> View:
    """What a visitor has before them after an action.

    Raises:
        ValueError: The page has no such link, button or field.
    """
    page, links = view.page, {**MENU, **view.page.links}
    if action.kind == "type" and action.label == page.field:
        return replace(view, typed=action.text)
    if action.kind == "click" and page.button is not None and action.label == page.button[0]:
        return View(page.button[1], value=view.typed)
    if action.kind == "click" and action.label in links:
        return View(links[action.label])
    labels = [*links, *([page.field] if page.field else []), *([page.button[0]] if page.button else [])]
    raise ValueError(f"The page {page.title!r} does not allow {action}. It has {', '.join(labels)}.")


def steps(actions: Sequence[Action]) -> list[tuple[Image.Image, str]]:
    """A trajectory from the first page: for each action the picture of the page that it is done on, and its text.

    Raises:
        ValueError: A page has no such link, button or field.
    """
    view, taken = View(), []
    for action in actions:
        taken.append((page_picture(view), str(action)))
        view = follow(view, action)
    return taken


def page_picture(view: View) -> Image.Image:
    """A page drawn without a browser: its title and text, links and buttons as boxes; RGB of `PICTURE_SIZE`."""
    image = Image.new("RGB", PICTURE_SIZE, "white")
    draw, (width, _) = ImageDraw.Draw(image), PICTURE_SIZE
    draw.rectangle((0, 0, width, 44), fill="#2f4858")
    at = 12
    for label in MENU:
        at = _box(draw, (at, 9), label, fill="#2f4858", ink="white") + 8
    page = view.page
    draw.text((24, 62), page.title, fill="black", font=ImageFont.load_default(30))
    y = 112
    for line in wrap(view.text, 60):
        draw.text((24, y), line, fill="black", font=ImageFont.load_default(18))
        y += 26
    for label in page.links:
        _box(draw, (24, y + 6), label, fill="#d8ecf3", ink="#0b4f6c")
        y += 38
    if page.field is not None:
        draw.text((24, y + 10), page.field, fill="black", font=ImageFont.load_default(18))
        draw.rectangle((180, y + 6, 480, y + 34), outline="black")
        draw.text((188, y + 10), view.typed, fill="black", font=ImageFont.load_default(18))
        y += 44
    if page.button is not None:
        _box(draw, (24, y + 8), page.button[0], fill="#f6ae2d", ink="black")
    return image


def _box(draw: ImageDraw.ImageDraw, at: tuple[int, int], label: str, *, fill: str, ink: str) -> int:
    """Draws a label in a box, and says where it ends, in pixels from the left."""
    font, (x, y) = ImageFont.load_default(18), at
    end = x + round(font.getlength(label)) + 16
    draw.rounded_rectangle((x, y, end, y + 28), radius=5, fill=fill)
    draw.text((x + 8, y + 4), label, fill=ink, font=font)
    return end


def page_html(view: View) -> str:
    """A page for a browser. It loads nothing else, and links and fields have the labels of the actions."""
    page = view.page
    menu = "".join(_link(*one) for one in MENU.items())
    links = "".join(f"<li>{_link(*one)}</li>" for one in page.links.items())
    form = ""
    if page.button is not None:
        label, path = page.button
        asked = ""
        if page.field is not None:
            asked = f'<label>{escape(page.field)} <input name="value" autocomplete="off"></label> '
        form = f'<form action="{quote(path)}">{asked}<button>{escape(label)}</button></form>'
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(page.title)}</title>{_STYLE}'
        f"<nav>{menu}</nav><main><h1>{escape(page.title)}</h1><p>{escape(view.text)}</p><ul>{links}</ul>{form}</main></html>"
    )


_STYLE = """<style>
body { margin: 0; font: 18px sans-serif } nav { background: #2f4858; padding: 12px } main { padding: 12px 24px }
nav a { color: white; margin-right: 20px } li { margin: 12px 0 } input, button { font: inherit; padding: 4px 8px }
</style>"""


def _link(label: str, path: str) -> str:
    return f'<a href="{quote(path)}">{escape(label)}</a>'


@contextmanager
def website() -> Iterator[str]:
    """Serves the website to this machine alone while the context lasts; gives the address of its first page."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        known = asked.path in PAGES
        value = parse_qs(asked.query).get("value", [""])[0]
        content = (page_html(View(asked.path, value)) if known else "There is no such page.").encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""
