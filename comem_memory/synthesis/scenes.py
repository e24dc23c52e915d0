"""Generated pictures: two coloured shapes, one beside or above the other, and what can be asked about them.

A split has its own combinations of colour and shape; colours, shapes and directions alone are shared.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from comem_memory.synthesis.splits import Split, shares_of

SIDE = 96
"""Pixels."""
COLOURS = ("red", "blue", "green", "yellow", "black", "purple", "orange", "brown")
SHAPES = ("circle", "square", "triangle", "diamond", "ring", "cross")
OPPOSITES = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_CENTRES = {
    "left of": ((26, 48), (70, 48)),
    "right of": ((70, 48), (26, 48)),
    "above": ((48, 26), (48, 70)),
    "below": ((48, 70), (48, 26)),
}
"""Of the first and the second shape, in pixels from the upper left corner."""


@dataclass(frozen=True)
class Shape:
    colour: str
    form: str

    def __str__(self) -> str:
        return f"{self.colour} {self.form}"


@dataclass(frozen=True)
class Scene:
    """`first` is `relation` `second`: "a red circle left of a blue square"."""

    first: Shape
    relation: str
    second: Shape
    radius: int
    """Of both shapes, in pixels."""

    def __str__(self) -> str:
        return f"{_with_article(self.first)} {self.relation} {_with_article(self.second)}"

    def draw(self) -> Image.Image:
        """The picture, `SIDE` pixels wide and high."""
        image = Image.new("RGB", (SIDE, SIDE), "white")
        for shape, centre in zip((self.first, self.second), _CENTRES[self.relation], strict=True):
            _draw(ImageDraw.Draw(image), shape, centre, self.radius)
        return image

    def asked(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """What can be asked: the end of a question ("is left of the blue square"), the answer, and what is wrong."""
        first, second = self.first, self.second
        asked: list[tuple[str, str, tuple[str, ...]]] = [
            (f"is {self.relation} the {second}", str(first), ()),
            (f"is {OPPOSITES[self.relation]} the {first}", str(second), ()),
        ]
        if first.colour != second.colour and first.form != second.form:
            asked += [
                (f"is {first.colour}", first.form, (second.form,)),
                (f"is {second.colour}", second.form, (first.form,)),
            ]
        return asked


def scene(rng: random.Random, split: Split) -> Scene:
    """A scene of one split's shapes."""
    shapes = [Shape(colour, form) for colour, form in itertools.product(COLOURS, SHAPES)]
    first, second = rng.sample(shares_of(shapes, split), 2)
    return Scene(first, rng.choice(tuple(OPPOSITES)), second, rng.randint(12, 20))


def _with_article(shape: Shape) -> str:
    return f"{'an' if shape.colour[0] in 'aeiou' else 'a'} {shape}"


def _draw(draw: ImageDraw.ImageDraw, shape: Shape, centre: tuple[int, int], radius: int) -> None:
    x, y = centre
    left, top, right, bottom = x - radius, y - radius, x + radius, y + radius
    match shape.form:
        case "circle":
            draw.ellipse((left, top, right, bottom), fill=shape.colour)
        case "ring":
            draw.ellipse((left, top, right, bottom), outline=shape.colour, width=radius // 3)
        case "square":
            draw.rectangle((left, top, right, bottom), fill=shape.colour)
        case "triangle":
            draw.polygon(((x, top), (right, bottom), (left, bottom)), fill=shape.colour)
        case "diamond":
            draw.polygon(((x, top), (right, y), (x, bottom), (left, y)), fill=shape.colour)
        case "cross":
            arm = radius // 3
            draw.rectangle((left, y - arm, right, y + arm), fill=shape.colour)
            draw.rectangle((x - arm, top, x + arm, bottom), fill=shape.colour)
