"""Values of notes: real and invented names, English words, numbers, and codes as people and machines write them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from functools import cache, partial

from faker import Faker
from faker.providers.lorem.en_US import Provider as English

from comem_memory.synthesis import countries
from comem_memory.synthesis.splits import SPLITS, Split, split_of
from comem_memory.synthesis.values import PROVIDERS, Values
from comem_memory.synthesis.words import CODAS, ONSETS, VOWELS, all_listed

KINDS: dict[str, tuple[str, ...]] = {
    "word": (
        *("word", "words", "colour", "animal", "food", "drink", "job", "hobby", "material", "status", "spot", "object"),
        *("instrument", "diet", "transport", "gift", "program", "spice", "allergy", "style", "day", "season"),
        *("reason", "errand", "decision", "action", "error"),
    ),
    "name": ("person", "first", "last", "city", "place", "company", "made", "invented", "street"),
    "number": ("digits", "small", "decimal", "price", "date", "time", "duration", "phone", "pin", "size", "port"),
    "code": (
        *("code", "plate", "version", "email", "path", "hex", "room", "host", "address", "branch", "ip", "flight"),
        *("seatnumber", "medicine", "product"),
    ),
}
"""What kinds of values there are of each kind of answer."""
KIND_OF = {kind: of for of, kinds in KINDS.items() for kind in kinds}
CITIES = ("de_DE", "it_IT", "nl_NL", "pl_PL", "sv_SE")
"""Faker's locales that list real towns; others make them up."""
SYLLABLES = ["".join(parts) for parts in itertools.product(ONSETS, VOWELS, CODAS)]
"""One choice instead of three: test and development draw ten names for each that is theirs."""
UPPER, LOWER = "ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnopqrstuvwxyz"
"""Without letters that look like digits."""


class NoteValues(Values):
    """Draws values of notes by kind, those of `KINDS` and what notes call their subjects by.

    A split has its own, as in `Values`. Faker's names are chosen from its lists, which is fast for every split. No name
    holds a word about the real countries, nor is one a word of a list (bear is a syllable too).

    Args:
        rng, split, words: As in `Values`.
    """

    def _own(self, draw: Callable[[], str]) -> str:
        while _of_countries(word := super()._own(draw)) or word.casefold() in all_listed():
            pass
        return word

    def _any_syllable(self) -> str:
        return self.rng.choice(SYLLABLES)

    def _filled(self, *patterns: str) -> str:
        """One of the patterns, a digit for each #, a letter for each @."""
        signs = {"#": "0123456789", "@": UPPER}
        return "".join(self.rng.choice(signs.get(sign, sign)) for sign in self.rng.choice(patterns))

    def _number_of(self, *patterns: str) -> str:
        """As `_filled`, beside a name, which need not be drawn again where the number is another split's."""
        return self._own(partial(self._filled, *patterns))

    # -- words --------------------------------------------------------------------------------------------------

    def _word(self) -> str:
        return self.rng.choice(_english()[self.split])

    def _words(self) -> str:
        return " ".join(self._word() for _ in range(self.rng.choice((2, 2, 3))))

    def _syllable(self) -> str:
        return self._own(self._any_syllable)

    # -- names --------------------------------------------------------------------------------------------------

    def _first_name(self, locale: str) -> str:
        return self.rng.choice(_names(locale, "first_names")[self.split])

    def _last_name(self, locale: str) -> str:
        return self.rng.choice(_names(locale, "last_names", "unisex_last_names")[self.split])

    def _last(self) -> str:
        return self._last_name(self._locale())

    def _city(self) -> str:
        return self.rng.choice(_names(self.rng.choice(CITIES), "cities")[self.split])

    def _invented(self) -> str:
        """One or two words of two to four syllables together, which are three to eight tokens of most models."""
        counts = self.rng.choice(((2,), (3,), (4,), (1, 2), (2, 1), (2, 2)))
        return " ".join(self._own(partial(self._joined, count)) for count in counts)

    def _joined(self, syllables: int) -> str:
        return "".join(self._any_syllable() for _ in range(syllables)).capitalize()

    def _street(self) -> str:
        end = self.rng.choice(("Street", "Road", "Lane", "Avenue", "Square", "Court", "Way", "Hill"))
        return f"{self.rng.choice((self._made, self._last))()} {end}"

    def _site(self) -> str:
        kinds = ("office", "clinic", "warehouse", "hotel", "studio", "cottage", "branch", "library", "garage", "school")
        return f"the {self._made()} {self.rng.choice(kinds)}"

    def _belonging(self) -> str:
        return f"the {self.draw('colour')} {self.draw('object')}"

    def _service(self) -> str:
        kinds = ("api", "worker", "db", "gateway", "cache", "bot", "search", "mailer", "sync", "web")
        return f"{self._made().lower()}-{self.rng.choice(kinds)}"

    # -- numbers ------------------------------------------------------------------------------------------------

    def _digits(self) -> str:
        places = self.rng.randint(1, 8)
        return str(self.rng.randint(10 ** (places - 1), 10**places - 1))

    def _pin(self) -> str:
        return self._filled("####", "####", "#####", "######", "### ###", "####-####")

    def _port(self) -> str:
        return str(self.rng.randint(1024, 65535))

    def _decimal(self) -> str:
        return f"{int(10 ** self.rng.uniform(0, 3)) - 1}.{self._filled('#', '##', '###', '00##')}"

    def _price(self) -> str:
        amount = f"{int(10 ** self.rng.uniform(0.4, 4))}{self._filled('', '', '.##', '.#0')}"
        return self.rng.choice(("${}", "€{}", "{} €", "{} dollars", "{} euros")).format(amount)

    def _date(self) -> str:
        month, day, year = self.rng.randint(1, 12), self.rng.randint(1, 28), self.rng.randint(1950, 2049)
        name = self.draw("month")
        forms = (
            f"{day} {name} {year}",
            f"{name} {day}",
            f"{day} {name}",
            f"{year}-{month:02}-{day:02}",
            f"{day}.{month}.{year}",
        )
        return self.rng.choice((*forms, f"{day:02}/{month:02}/{year}"))

    def _time(self) -> str:
        hour, minute = self.rng.randint(0, 23), self.rng.choice((0, 15, 30, 45, self.rng.randrange(60)))
        half = f"{(hour - 1) % 12 + 1}", "am" if hour < 12 else "pm"
        return self.rng.choice((f"{hour:02}:{minute:02}", f"{half[0]}:{minute:02} {half[1]}", f"{half[0]} {half[1]}"))

    def _duration(self) -> str:
        return f"{self.rng.randint(2, 120)} {self.rng.choice(('minutes', 'hours', 'days', 'seconds', 'weeks'))}"

    def _size(self) -> str:
        return f"{self._filled('#', '##', '###', '####')} {self.rng.choice(('MB', 'GB', 'kB'))}"

    def _phone(self) -> str:
        return self._filled("0### ######", "###-####", "(0###) ## ## ##", "0##-### ####", "0#########")

    # -- codes --------------------------------------------------------------------------------------------------

    def _code(self) -> str:
        """Of three to ten letters, digits and hyphens, with at least one digit."""
        letters = self.rng.choice((UPPER, UPPER, LOWER, UPPER + LOWER))
        signs = [self.rng.choice(self.rng.choice((letters, "0123456789"))) for _ in range(self.rng.randint(3, 10))]
        signs[self.rng.choice((0, -1))] = self._filled("#")
        if len(signs) > 4 and self.rng.random() < 0.5:
            signs[self.rng.randint(1, len(signs) - 2)] = "-"
        return "".join(signs)

    def _plate(self) -> str:
        return self._filled("@@-##-@@", "@@@ ####", "#@@@###", "@@ ### @@", "@-@@ ####")

    def _version(self) -> str:
        return self._filled("#.#", "#.##.#", "v#.#.#", "##.#", "#.#.#-rc#", "##.##.##")

    def _email(self) -> str:
        form, end = (
            self.rng.choice(("{}.{}@{}", "{}@{}", "{}_{}@{}")),
            self.rng.choice(("com", "org", "net", "example")),
        )
        return form.format(*(self._made().lower() for _ in range(form.count("{")))) + f".{end}"

    def _path(self) -> str:
        root = self.rng.choice(("/srv", "/var/log", "/home", "/opt", "~", "/etc", "src", "./data"))
        return "/".join((root, *(self._made().lower() for _ in range(self.rng.randint(0, 2))), self.draw("file")))

    def _hex(self) -> str:
        digits = "".join(self.rng.choice("0123456789abcdef") for _ in range(self.rng.choice((3, 5, 6, 7, 9))))
        return self.rng.choice(("0x{}", "#{}", "{}")).format(self._filled("#") + digits)

    def _room(self) -> str:
        return self._filled("#.##", "@##", "##@", "###", "@-##", "@#.##", "####")

    def _host(self) -> str:
        return (
            f"{self._made().lower()}{self._number_of('-##', '##', '-#')}{self.rng.choice(('', '.local', '.internal'))}"
        )

    def _address(self) -> str:
        return f"{self._own(lambda: str(int(10 ** self.rng.uniform(0, 3))))} {self._street()}"

    def _branch(self) -> str:
        return f"{self.rng.choice(('fix', 'feature', 'release', 'wip'))}/{self._made().lower()}-{self._word()}"

    def _ip(self) -> str:
        return ".".join(str(self.rng.randint(1, 254)) for _ in range(4))

    def _flight(self) -> str:
        return self._filled("@@###", "@@ ####", "@#-####")

    def _seatnumber(self) -> str:
        return self.rng.choice(("{}{}", "{} {}")).format(self.rng.randint(1, 60), self.rng.choice("ABCDEFGHJK"))

    def _medicine(self) -> str:
        return f"{self._made()} {self._number_of('##', '###', '#.#')}"


@cache
def _english() -> dict[Split, list[str]]:
    """Faker's list of common English words, without short ones and those that have a split as words of a list."""
    return _by_split(word for word in English.word_list if len(word) > 3 and word not in all_listed())


@cache
def _names(locale: str, *lists: str) -> dict[Split, list[str]]:
    """All names of some of Faker's lists."""
    providers = Faker(locale, providers=PROVIDERS).get_providers()
    names = {name for provider in providers for of in lists for name in getattr(provider, of, ())}
    return _by_split(name for name in names if "{" not in name)


def _by_split(words: Iterable[str]) -> dict[Split, list[str]]:
    """The words of each split, in order, without those that hold a word of the countries."""
    found: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for word in sorted(words):
        if not _of_countries(word):
            found[split_of(word)].append(word)
    return found


def _of_countries(text: str) -> bool:
    return not countries.proper_words().isdisjoint(re.findall(r"\w+", text.title()))
