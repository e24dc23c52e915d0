"""Drawing what made-up items are called and what is said of them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from functools import cached_property

from faker import Faker

from comem_memory.synthesis.splits import Split, split_of, words_of
from comem_memory.synthesis.words import CODAS, ENDINGS, ONSETS, VOWELS

LOCALES = ("en_US", "fr_FR", "de_DE", "es_ES", "it_IT", "pt_BR", "nl_NL", "pl_PL", "sv_SE")
PROVIDERS = ["faker.providers.address", "faker.providers.person"]
"""Of Faker's 26, the two that are used: loading all of them takes four times as long as drawing a group."""
UNORDERED_CITIES = "it_IT"
"""Faker keeps this locale's cities in a set, whose order is another one in every process."""
ORDERED_CITIES = tuple(locale for locale in LOCALES if locale != UNORDERED_CITIES)


class Values:
    """Draws values by kind: words of a list, Faker's names, made-up syllables, numbers; a split has its own.

    Args:
        rng: Decides everything.
        split: Whose names, numbers and words are drawn.
        words: Half of the made-up names are made of these instead of syllables.
    """

    def __init__(self, rng: random.Random, split: Split, words: Sequence[str] = ()) -> None:
        self.rng, self.split, self.words = rng, split, words
        self._seeds = [rng.random() for _ in LOCALES]

    @cached_property
    def _fakers(self) -> dict[str, Faker]:
        """By locale."""
        fakers = {locale: Faker(locale, providers=PROVIDERS) for locale in LOCALES}
        for faker, seed in zip(fakers.values(), self._seeds, strict=True):
            faker.seed_instance(seed)
        return fakers

    def draw(self, kind: str) -> str:
        maker: Callable[[], str] | None = getattr(self, f"_{kind}", None)
        while True:
            value = maker() if maker else self.rng.choice(self._listed(kind))
            if not re.search(r"\d", value) or split_of(value) == self.split:
                return value

    def _listed(self, kind: str) -> list[str]:
        return words_of(kind, self.split)

    def _own(self, draw: Callable[[], str]) -> str:
        """The first drawn word that is the split's."""
        while split_of(word := draw()) != self.split:
            pass
        return word

    def _locale(self) -> str:
        return self.rng.choice(LOCALES)

    def _made(self) -> str:
        return self._own(self._any_made)

    def _any_made(self) -> str:
        rng = self.rng
        if self.words and rng.random() < 0.5:
            return rng.choice(self.words)
        parts = (self._any_syllable() for _ in range(rng.choice((1, 1, 2))))
        return ("".join(parts) + rng.choice(ENDINGS)).capitalize()

    def _any_syllable(self) -> str:
        return self.rng.choice(ONSETS) + self.rng.choice(VOWELS) + self.rng.choice(CODAS)

    def _place(self) -> str:
        chance = self.rng.random()
        if chance < 0.45:
            return self._made()
        if chance < 0.55:
            return f"{self.rng.choice(['San', 'Port', 'New', 'Saint', 'Fort', 'El', 'Mount', 'Lake'])} {self._made()}"
        return self._city()

    def _city(self) -> str:
        return self._own(lambda: str(self._fakers[self.rng.choice(ORDERED_CITIES)].city()).replace("\n", " "))

    def _person(self) -> str:
        locale = self._locale()
        first = self._first_name(locale) if self.rng.random() < 0.8 else self._made()
        return f"{first} {self._last_name(locale) if self.rng.random() < 0.8 else self._made()}"

    def _first_name(self, locale: str) -> str:
        return self._own(lambda: str(self._fakers[locale].first_name()))

    def _last_name(self, locale: str) -> str:
        return self._own(lambda: str(self._fakers[locale].last_name()))

    def _first(self) -> str:
        return self._first_name(self._locale())

    def _company(self) -> str:
        ends = ["Labs", "Group", "Works", "Systems", "Foods", "Partners", "& Sons", "Industries", "Studio", "Bank"]
        return f"{self._made() if self.rng.random() < 0.6 else self._last_name(self._locale())} {self.rng.choice(ends)}"

    def _title(self) -> str:
        return self._own(self._any_title)  # some are made of seasons alone, which all splits share

    def _any_title(self) -> str:
        rng = self.rng
        nouns = [noun for kind in ("animal", "material", "season", "shape") for noun in self._listed(kind)]
        noun = rng.choice(nouns).capitalize()
        return rng.choice(
            [
                f"The {rng.choice(self._listed('colour')).capitalize()} {noun}",
                f"{noun} of {self._made()}",
                f"The {noun}'s {rng.choice(self._listed('season')).capitalize()}",
                f"{self._made()} and the {noun}",
            ]
        )

    def _continent(self) -> str:
        part = self.rng.choice(["Eastern", "Northern", "Southern", "Western", "Central", "Upper", "Lower", "Outer"])
        region = self.draw("region")
        return self.rng.choice(
            [
                region,
                region,
                f"{part} {region.removeprefix('the ')}",
                f"{part} {region.removeprefix('the ')}",
                f"{part} {self._made()}",
                f"the {self._made()} Islands",
                self._made(),
            ]
        )

    def _exports(self) -> str:
        values = [self.rng.choice(self._listed("export")) for _ in range(self.rng.choice((1, 1, 2, 2, 3)))]
        return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} and {values[-1]}"

    def _year(self) -> str:
        return str(self.rng.randint(1100, 2030))

    def _small(self) -> str:
        return str(self.rng.randint(2, 99))

    def _number(self) -> str:
        n = int(10 ** self.rng.uniform(2, 7))
        return f"{n:,}" if self.rng.random() < 0.4 else str(n)

    def _area(self) -> str:
        return f"{self._number()} {self.rng.choice(['square kilometres', 'km2', 'square miles', 'hectares'])}"

    def _length(self) -> str:
        return f"{self.rng.randint(2, 900)} {self.rng.choice(['metres', 'km', 'cm', 'miles', 'feet'])}"

    def _weight(self) -> str:
        return f"{self.rng.randint(2, 900)} {self.rng.choice(['kg', 'grams', 'tonnes', 'pounds'])}"

    def _minutes(self) -> str:
        return f"{self.rng.randint(2, 180)} minutes"

    def _price(self) -> str:
        return self.rng.choice(["${}", "{} euros", "€{}", "{} dollars"]).format(self.rng.randint(2, 5000))

    def _dialcode(self) -> str:
        return f"+{self.rng.randint(1, 1999)}"

    def _code(self) -> str:
        letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
        return f"{self.rng.choice(letters)}{self.rng.choice(letters)}-{self.rng.randint(10, 9999)}"

    def _date(self) -> str:
        return f"{self.rng.randint(1, 28)} {self.draw('month')} {self._year()}"

    def _time(self) -> str:
        return f"{self.rng.randint(1, 12)}:{self.rng.choice(['00', '15', '30', '45'])} {self.rng.choice(['am', 'pm'])}"

    def _product(self) -> str:
        return f"{self._made()} {self.rng.choice('ABCDEFGHKLMNPRSTVXZ')}{self._small()}"

    def _species(self) -> str:
        kind = self.rng.choice(["crake", "perch", "beetle", "gecko", "wren", "newt", "moth", "tern", "skink", "loach"])
        return f"the {self._made()} {kind}"

    def _event(self) -> str:
        kind = self.rng.choice(["Fair", "Cup", "Days", "Congress", "Parade", "Marathon", "Gala", "Summit", "Ball"])
        return f"the {self._made()} {kind}"

    def _dish(self) -> str:
        kind = self.rng.choice(["stew", "pie", "broth", "pudding", "salad", "loaf", "curry", "tart", "roast"])
        return f"{self._made() if self.rng.random() < 0.5 else self._city()} {kind}"

    def _session(self) -> str:
        kind = self.rng.choice(["review", "meeting", "call", "workshop", "planning"])
        about = self._made() if self.rng.random() < 0.6 else self._last_name(self._locale())
        return f"the {about} {kind}"

    def _task(self) -> str:
        kind = self.rng.choice(["import", "backup", "build", "upload", "migration", "sync", "export"])
        return f"the {self._made()} {kind}"

    def _file(self) -> str:
        ending = self.rng.choice(["py", "c", "js", "toml", "yaml", "sql", "sh", "rs"])
        return f"{self._made().lower()}.{ending}"

    def _version(self) -> str:
        return f"{self.rng.randint(1, 30)}.{self.rng.randint(0, 30)}"
