"""Made-up worlds: items of a few facts each, with questions, to train a memory encoder on.

Nothing here is true of a real country; real entities are for tests. Everything follows from the seed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from faker import Faker

LOCALES = ("en_US", "fr_FR", "de_DE", "es_ES", "it_IT", "pt_BR", "nl_NL", "pl_PL", "sv_SE")
UNORDERED_CITIES = "it_IT"
"""Faker keeps this locale's cities in a set, whose order is another one in every process."""


@dataclass(frozen=True)
class Question:
    text: str
    value: str
    """What is asked for."""
    answer: str
    """A sentence that says it, as the frozen model itself would answer."""
    names_item: bool = True
    """Whether the question says which item it is about, so that it can be asked among several."""


@dataclass(frozen=True)
class Sample:
    """One item and what can be asked about it."""

    text: str
    questions: list[Question] = field(default_factory=list)


NUM_FACTS = (1, 2, 3, 4, 5, 6, 7, 8, 8, 8)


def samples(seed: int, words: Sequence[str] = (), num_facts: Sequence[int] = NUM_FACTS) -> Iterator[Sample]:
    """An endless stream of items, the same for the same seed.

    Args:
        seed: of everything that is drawn.
        words: half of the made-up names are made of these instead of syllables.
        num_facts: an item has one of these numbers of facts, each as likely as it is frequent here.
    """
    world = _World(random.Random(seed), words, num_facts)
    while True:
        yield world.sample()


# -- values ------------------------------------------------------------------------------------------------------

_ONSETS = [
    "b",
    "br",
    "c",
    "ch",
    "cl",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "kl",
    "kr",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "q",
    "r",
    "s",
    "sh",
    "sk",
    "st",
    "t",
    "th",
    "tr",
    "v",
    "w",
    "y",
    "z",
]
_VOWELS = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "ai", "ea", "io", "ou"]
_CODAS = ["", "", "", "n", "r", "l", "s", "th", "nd", "m", "k", "rt", "x"]
_ENDINGS = ["", "", "a", "ia", "o", "en", "ar", "ville", "burg", "ton", "land", "is", "mar", "eth", "ona"]

_WORDS = {
    "colour": "red blue green yellow black white purple orange silver golden brown pink grey turquoise crimson ivory",
    "animal": "eagle lion wolf otter falcon bear turtle deer swan fox owl dolphin horse lynx crane tiger heron badger",
    "food": "rice bread lentils noodles cheese salmon potatoes dates olives honey mushrooms soup dumplings beans figs "
    "mangoes porridge pancakes pumpkin couscous",
    "drink": "green tea,black coffee,mint tea,apple juice,ginger beer,hot chocolate,buttermilk,lemonade,oat milk,cider",
    "material": "wood steel glass copper leather bamboo marble wool granite paper clay cotton aluminium brass silk",
    "job": "chef nurse pilot teacher baker lawyer farmer painter engineer dentist plumber librarian architect tailor "
    "gardener journalist surgeon carpenter translator geologist",
    "hobby": "chess,sailing,pottery,running,photography,gardening,knitting,climbing,birdwatching,cycling,fencing,"
    "origami,skating,astronomy,baking,fishing,calligraphy,juggling",
    "allergy": "peanuts shellfish pollen eggs milk wheat soy strawberries penicillin latex sesame cats",
    "instrument": "piano violin flute drums guitar harp trumpet cello accordion clarinet banjo oboe",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": "January February March April May June July August September October November December",
    "climate": "tropical,arid,temperate,cold,humid,mild,alpine,windy,Mediterranean,rainy",
    "export": "timber,coffee,copper,salt,wool,sugar,tin,rubber,spices,cotton,cocoa,diamonds,tea,fish,iron ore,vanilla",
    "direction": "north south east west north-east south-west north-west south-east centre",
    "genre": "mystery,romance,satire,fantasy,biography,horror,comedy,adventure,science fiction,drama",
    "industry": "software,shipping,banking,farming,mining,fashion,medicine,tourism,robotics,publishing,energy,toys",
    "status": "approved,rejected,postponed,in progress,finished,cancelled,on hold,under review,urgent,open",
    "season": "spring summer autumn winter",
    "coin": "crown,thaler,mark,ducat,shilling,florin,guilder,penny,talent,groat,obol,scudo,denar,tael,piastre",
    "feature": "waterproof,foldable,wireless,solar-powered,silent,fireproof,adjustable,biodegradable,portable",
    "government": "republic,kingdom,federation,duchy,union,principality,sultanate,confederation",
    "texture": "soft,crunchy,creamy,sticky,crisp,chewy,smooth,flaky",
    "region": "Scandinavia,Siberia,Patagonia,Bavaria,Tuscany,Catalonia,Yorkshire,Cornwall,Texas,Alaska,Ontario,Quebec,"
    "California,Bengal,Punjab,Kashmir,Tibet,Manchuria,Anatolia,Crimea,Sicily,Normandy,Brittany,Scotland,Wales,Iberia,"
    "Lapland,Flanders,Saxony,Andalusia,Queensland,Tasmania,Hokkaido,Sumatra,Borneo,Sinai,Mesopotamia,Louisiana,Florida,"
    "the Balkans,the Alps,the Andes,the Arctic,the Levant,the Midwest,the Baltic,the Himalayas,the Highlands,"
    "the Pacific,the Atlantic,the Mediterranean,the Steppe,the Tropics,the Desert,the Great Plains",
    "shape": "circle,star,crescent,triangle,cross,diamond,square,wheel,sun,tree",
}


@cache
def _words(kind: str) -> list[str]:
    listed = _WORDS[kind]
    return [word.strip() for word in (listed.split(",") if "," in listed else listed.split())]


class _Values:
    """Draws values by kind, from real-word lists, from Faker's names, from given words, and from made-up syllables.

    As in the real world, some follow from the item's name: its people, their language and money, its web addresses.
    """

    def __init__(self, rng: random.Random, words: Sequence[str]) -> None:
        self.rng, self.words = rng, words
        self.name = ""
        self.fakers = [Faker(locale) for locale in LOCALES]
        for faker in self.fakers:
            faker.seed_instance(rng.random())
        self.towns = [f for locale, f in zip(LOCALES, self.fakers, strict=True) if locale != UNORDERED_CITIES]

    def draw(self, kind: str) -> str:
        maker: Callable[[], str] | None = getattr(self, f"_{kind}", None)
        return maker() if maker else self.rng.choice(_words(kind))

    def _faker(self) -> Faker:
        return self.rng.choice(self.fakers)

    def _made(self) -> str:
        rng = self.rng
        if self.words and rng.random() < 0.5:
            return rng.choice(self.words)
        parts = (rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.choice((1, 1, 2))))
        return ("".join(parts) + rng.choice(_ENDINGS)).capitalize()

    def _place(self) -> str:
        chance = self.rng.random()
        if chance < 0.45:
            return self._made()
        if chance < 0.55:
            return f"{self.rng.choice(['San', 'Port', 'New', 'Saint', 'Fort', 'El', 'Mount', 'Lake'])} {self._made()}"
        return str(self.rng.choice(self.towns).city()).replace("\n", " ")

    def _person(self) -> str:
        faker = self._faker()
        first = faker.first_name() if self.rng.random() < 0.8 else self._made()
        return f"{first} {faker.last_name() if self.rng.random() < 0.8 else self._made()}"

    def _first(self) -> str:
        return str(self._faker().first_name())

    def _company(self) -> str:
        ends = ["Labs", "Group", "Works", "Systems", "Foods", "Partners", "& Sons", "Industries", "Studio", "Bank"]
        return f"{self._made() if self.rng.random() < 0.6 else self._faker().last_name()} {self.rng.choice(ends)}"

    def _title(self) -> str:
        rng = self.rng
        noun = rng.choice(_words("animal") + _words("material") + _words("season") + _words("shape")).capitalize()
        return rng.choice(
            [
                f"The {rng.choice(_words('colour')).capitalize()} {noun}",
                f"{noun} of {self._made()}",
                f"The {noun}'s {rng.choice(_words('season')).capitalize()}",
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

    def _language(self) -> str:
        chance = self.rng.random()
        if self.words and chance < 0.2:
            return self.rng.choice(self.words)
        stem = self.name if chance < 0.65 else self._made()
        return stem.rstrip("aeiou") + self.rng.choice(["ish", "ese", "ian", "ic", "i", "an", "er"])

    def _languages(self) -> str:
        return self._list(self._language)

    def _exports(self) -> str:
        return self._list(lambda: self.rng.choice(_words("export")))

    def _places(self) -> str:
        return self._list(self._place)

    def _list(self, draw: Callable[[], str]) -> str:
        values = [draw() for _ in range(self.rng.choice((1, 1, 2, 2, 3)))]
        return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} and {values[-1]}"

    def _currency(self) -> str:
        return f"{self._made() if self.rng.random() < 0.3 else self._language()} {self.rng.choice(_words('coin'))}"

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

    def _domain(self) -> str:
        letters = "abcdefghijklmnopqrstuvwxyz"
        own = [letter for letter in self.name.lower() if letter in letters]
        if len(own) > 1 and self.rng.random() < 0.6:
            return f".{own[0]}{self.rng.choice(own[1:])}"
        return "." + "".join(self.rng.choice(letters) for _ in range(2))

    def _code(self) -> str:
        letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
        return f"{self.rng.choice(letters)}{self.rng.choice(letters)}-{self.rng.randint(10, 9999)}"

    def _date(self) -> str:
        return f"{self.rng.randint(1, 28)} {self.draw('month')} {self._year()}"

    def _time(self) -> str:
        return f"{self.rng.randint(1, 12)}:{self.rng.choice(['00', '15', '30', '45'])} {self.rng.choice(['am', 'pm'])}"


# -- what can be said --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Attribute:
    label: str
    """What it is called: "capital", "date of birth"."""
    kind: str
    """The kind of value."""
    sentences: tuple[str, ...] = ()
    """Ways to state it besides the general ones; {n} the subject or a pronoun, {v} the value."""
    questions: tuple[str, ...] = ()
    """Ways to ask besides the general ones."""


def _attribute(line: str) -> _Attribute:
    label, kind, sentences, questions = (part.strip() for part in line.split("|"))

    def split(listed: str) -> tuple[str, ...]:
        return tuple(s.strip() for s in listed.split(";") if s.strip())

    return _Attribute(label, kind, split(sentences), split(questions))


@dataclass(frozen=True)
class _Domain:
    nouns: tuple[str, ...]
    name: str
    pronoun: str
    possessive: str
    attributes: tuple[_Attribute, ...]
    where: _Attribute
    """What an opening such as "a land in the north" tells."""


_WHAT = _attribute("kind | | {n} is a {v} | What is {n}?; What kind of thing is {n}?; What sort of thing is {n}?")
_WHERE = _attribute("place | place | {n} is in {v} | Where is {n}?; Where can I find {n}?; In which place is {n}?")
_REGION = _attribute(
    "continent | continent | {n} lies in {v}; {n} is part of {v} | Where is {n}?; Where in the world is {n}?; "
    "In what part of the world does {n} lie?; To which part of the world does {n} belong?; "
    "Which region does {n} belong to?"
)


def _domain(
    nouns: str, name: str, pronoun: str, possessive: str, attributes: str, where: _Attribute = _WHERE
) -> _Domain:
    lines = tuple(_attribute(line) for line in attributes.strip().splitlines())
    return _Domain(tuple(nouns.split(",")), name, pronoun, possessive, lines, where)


_DOMAINS = (
    _domain(
        "realm,land,territory,island state,nation,province,region",
        "place",
        "it",
        "its",
        """
        capital | place | {v} is the capital of {n}; {n} is governed from {v}; the seat of government lies in {v} | Which town is the capital of {n}?; From which city is {n} governed?; Name the capital of {n}.
        currency | currency | people in {n} pay with the {v}; the {v} is legal tender there | What money is used in {n}?; Which currency do people pay with in {n}?
        main language | languages | {v} is spoken in {n}; people there speak {v} | What language is spoken in {n}?; Which languages do people speak in {n}?
        area | area | {n} covers {v}; {n} has a surface of {v} | How large is {n}?; How big is {n}?
        population | number | {v} people live in {n}; {n} has {v} inhabitants | How many people live in {n}?; How many inhabitants does {n} have?
        calling code | dialcode | calls to {n} begin with {v}; phone numbers there start with {v} | Which prefix do I dial to call {n}?; What is the phone code of {n}?
        internet domain | domain | websites from {n} end in {v}; its web addresses use {v} | What do web addresses in {n} end in?; Which top-level domain belongs to {n}?
        climate | climate | the climate is {v} | What is the weather like in {n}?
        main export | exports | {n} sells {v} abroad; {n} is known for its {v} | What does {n} export?
        neighbours | places | {n} borders {v}; {n} shares a border with {v} | Which countries border {n}?; Who are the neighbours of {n}?
        form of government | government | {n} is a {v} | How is {n} ruled?
        national animal | animal | the {v} is a symbol of {n} | Which animal stands for {n}?
        official name | title | {n} is formally called {v} | What is {n} formally called?
        people | language | a person from {n} is called {v}; someone from there is {v} | What is a person from {n} called?; What are people from {n} called?
        flag | colour | the flag of {n} is mostly {v} | What colour is the flag of {n}?
        """,
        _REGION,
    ),
    _domain(
        "person,colleague,neighbour,friend,user,customer,guest",
        "person",
        "she",
        "her",
        """
        job | job | {n} works as a {v}; {n} earns a living as a {v}; {n} is a {v} | What does {n} do for a living?; What is {n}'s profession?
        home town | place | {n} lives in {v}; {n} has a flat in {v}; {n} moved to {v} | Where does {n} live?; In which town does {n} live?
        birthplace | place | {n} was born in {v}; {n} comes from {v} | Where was {n} born?; Where does {n} come from?
        year of birth | year | {n} was born in {v} | When was {n} born?; In which year was {n} born?
        employer | company | {n} works for {v}; {n} is employed at {v} | Who does {n} work for?; Where is {n} employed?
        hobby | hobby | {n} spends weekends on {v}; {n} loves {v} | What does {n} do in free time?; What does {n} love?
        allergy | allergy | {n} must not touch {v}; {n} is allergic to {v} | What is {n} allergic to?; What must {n} avoid?
        favourite drink | drink | {n} always orders {v}; {n} prefers {v} | What does {n} like to drink?; What should I order for {n} to drink?
        favourite food | food | {n} is fond of {v}; {n} likes to eat {v} | What does {n} like to eat?
        sister | first | {n} has a sister called {v} | What is the name of {n}'s sister?
        husband | person | {n} is married to {v} | Who is {n} married to?
        pet | animal | {n} keeps a {v} at home | Which animal does {n} keep?
        age | small | {n} is {v} years old; {n} turned {v} this year | How old is {n}?
        instrument | instrument | {n} plays the {v} | Which instrument does {n} play?
        favourite colour | colour | {n} paints everything {v} | Which colour does {n} like best?
        next appointment | date | {n} sees the dentist on {v}; {n} has booked for {v} | When is {n}'s appointment?; For when has {n} booked?
        desk | code | {n} sits at desk {v} | Where does {n} sit?
        """,
    ),
    _domain(
        "company,firm,start-up,shop,museum,school,club,restaurant",
        "company",
        "it",
        "its",
        """
        founder | person | {n} was founded by {v}; {v} started {n} | Who founded {n}?; Who started {n}?
        year of foundation | year | {n} was set up in {v}; {n} opened in {v} | When was {n} founded?; In which year did {n} open?
        headquarters | place | {n} is based in {v}; {n} has its head office in {v} | Where is {n} based?; In which city is {n}?
        business | industry | {n} is active in {v} | What line of business is {n} in?
        number of employees | number | {n} employs {v} people; {v} people work there | How many people work at {n}?
        director | person | {v} runs {n}; {n} is led by {v} | Who runs {n}?; Who leads {n}?
        revenue | price | {n} made {v} last year | How much did {n} make last year?
        closing day | day | {n} is closed on {v} | On which day is {n} closed?
        opening time | time | {n} opens at {v} | When does {n} open?
        entrance fee | price | a ticket costs {v} | How much is a ticket for {n}?
        main rival | company | {n} competes with {v} | Who does {n} compete with?
        logo | shape | the logo of {n} shows a {v} | What does the logo of {n} show?
        speciality | food | {n} is famous for {v} | What is {n} famous for?
        """,
    ),
    _domain(
        "book,film,song,painting,opera,game,poem",
        "title",
        "it",
        "its",
        """
        author | person | {n} was made by {v}; {v} created {n} | Who made {n}?; Who is behind {n}?
        year | year | {n} came out in {v}; {n} appeared in {v} | When did {n} come out?; In which year did {n} appear?
        genre | genre | {n} belongs to {v} | What kind of work is {n}?
        setting | place | {n} is set in {v}; the story takes place in {v} | Where is {n} set?; Where does {n} take place?
        hero | first | the main character is called {v}; {n} tells of {v} | Who is the main character of {n}?
        length | minutes | {n} lasts {v} | How long is {n}?
        publisher | company | {n} was brought out by {v} | Who published {n}?
        price | price | a copy costs {v} | How much does {n} cost?
        original language | language | {n} was first written in {v} | In which language was {n} written?
        cover | colour | the cover is {v} | What colour is the cover of {n}?
        """,
    ),
    _domain(
        "device,tool,lamp,chair,bicycle,backpack,kettle,camera,drone",
        "company",
        "it",
        "its",
        """
        price | price | {n} sells for {v}; {n} costs {v} | How much is {n}?; What does {n} cost?
        maker | company | {n} is made by {v}; {v} builds {n} | Who makes {n}?; Which company builds {n}?
        material | material | {n} consists of {v}; {n} is made of {v} | What is {n} made of?
        weight | weight | {n} weighs {v} | How heavy is {n}?; What does {n} weigh?
        colour | colour | {n} comes in {v} | Which colour does {n} have?
        model number | code | {n} is listed as {v} | Under which number is {n} listed?
        height | length | {n} is {v} tall | How tall is {n}?
        special feature | feature | {n} is {v} | What is special about {n}?
        launch date | date | {n} goes on sale on {v} | When does {n} go on sale?
        warranty | small | the warranty runs for {v} months | How many months of warranty does {n} have?
        storage place | place | {n} is kept in {v} | Where is {n} kept?
        """,
    ),
    _domain(
        "meeting,project,conference,festival,concert,trip,match,experiment",
        "title",
        "it",
        "its",
        """
        date | date | {n} takes place on {v}; {n} was moved to {v} | When is {n}?; On which date is {n}?
        place | place | {n} is held in {v}; people meet in {v} | Where is {n} held?; Where does {n} take place?
        organiser | person | {n} is organised by {v}; {v} is in charge of {n} | Who organises {n}?; Who is in charge of {n}?
        start | time | {n} begins at {v} | At what time does {n} start?
        status | status | {n} is {v} | What is the state of {n}?
        budget | price | {n} may cost {v} | How much may {n} cost?
        number of guests | number | {v} people are expected | How many people are expected at {n}?
        winner | person | {v} won {n} | Who won {n}?
        next step | hobby | after it comes {v} | What comes after {n}?
        room | code | {n} is in room {v} | In which room is {n}?
        ticket price | price | entry costs {v} | How much is entry to {n}?
        """,
    ),
    _domain(
        "bird,fish,plant,tree,flower,insect,dish,soup,cake",
        "made",
        "it",
        "its",
        """
        colour | colour | {n} is {v}; {n} has a {v} look | What colour is {n}?
        home | place | {n} is found near {v}; {n} comes from {v} | Where is {n} found?; Where does {n} come from?
        size | length | {n} grows to {v} | How large does {n} grow?
        food | food | {n} goes well with {v} | What goes well with {n}?
        discoverer | person | {n} was first described by {v} | Who first described {n}?
        season | season | {n} is at its best in {v} | In which season is {n} at its best?
        time | minutes | {n} needs {v} | How long does {n} need?
        weight | weight | {n} weighs about {v} | How heavy is {n}?
        texture | texture | {n} feels {v} | How does {n} feel?
        enemy | animal | {n} fears the {v} | What does {n} fear?
        """,
    ),
)

_STATEMENTS = (
    "the {a} of {n} is {v}",
    "{s} {a} is {v}",
    "{s} {a} is {v}",
    "{n} has {v} as {p} {a}",
    "as for the {a}, it is {v}",
    "{a}: {v}",
    "the {a} is {v}",
)
_QUESTIONS = (
    "What is the {a} of {n}?",
    "What is the {a} of {n}?",
    "What is {n}'s {a}?",
    "Tell me the {a} of {n}.",
    "{n}: {a}?",
    "Do you know the {a} of {n}?",
    "What {a} does {n} have?",
    "Give the {a} of {n}.",
    "What is the {a}?",
)
_OPENINGS = (
    "{n} is a {k}",
    "This is {n}, a {k}",
    "Name: {n}. Type: {k}",
    "{n} is a {k} found in {x}",
    "{n}, a {k} in {x}",
    "In {x} there is a {k} called {n}",
    "The {k} {n} lies in {x}",
    "",
    "",
)


class _World:
    def __init__(self, rng: random.Random, words: Sequence[str], num_facts: Sequence[int]) -> None:
        self.rng, self.num_facts = rng, num_facts
        self.values = _Values(rng, words)

    def sample(self) -> Sample:
        rng = self.rng
        domain = rng.choice((*_DOMAINS, *_DOMAINS[:1] * 6, *_DOMAINS[1:2] * 2))  # half are places, a quarter people
        name = self.values.draw(domain.name)
        noun = rng.choice(domain.nouns)
        pronoun, possessive = domain.pronoun, domain.possessive
        if pronoun == "she" and rng.random() < 0.5:
            pronoun, possessive = "he", "his"
        self.values.name = name
        opening, place = rng.choice(_OPENINGS), self.values.draw(domain.where.kind)
        chosen = rng.sample(domain.attributes, rng.choice(self.num_facts))
        sentences = [_polished(opening.format(n=name, k=noun, x=place))] if opening else []
        questions = []
        for position, attribute in enumerate(chosen):
            value = self.values.draw(attribute.kind)
            named = rng.random() < 0.5 or (position == 0 and not opening)
            pattern = rng.choice(attribute.sentences if rng.random() < 0.55 else _STATEMENTS)
            if not opening and position == 0 and "{n}" not in pattern:
                pattern = "the {a} of {n} is {v}"
            sentence = pattern.format(
                n=name if named else pronoun,
                s=f"{name}'s" if named else possessive,
                p=possessive,
                a=attribute.label,
                v=value,
            )
            sentences.append(_polished(sentence))
            general = rng.random() >= 0.55
            questions.append(self._ask(attribute, name, value, general=general))
        rng.shuffle(questions)
        if "{k}" in opening and rng.random() < 0.2:
            questions.insert(rng.randint(0, len(questions)), self._ask(_WHAT, name, noun))
        if "{x}" in opening:
            questions.insert(rng.choice((0, len(questions))), self._ask(domain.where, name, place))
        separator = "\n" if rng.random() < 0.08 else " "
        return Sample(separator.join(sentences), questions)

    def _ask(self, attribute: _Attribute, name: str, value: str, *, general: bool = False) -> Question:
        """A question in the attribute's own words or, if general, in words that fit any."""
        asked = self.rng.choice(_QUESTIONS if general else attribute.questions)
        names_item = "{n}" in asked
        said = [*(["the {a} of {n} is {v}"] if general else []), *(s for s in attribute.sentences if "{n}" in s)]
        answer = self.rng.choice(said or ["the {a} of {n} is {v}"]) if names_item else "the {a} is {v}"
        answer = answer.format(n=name, a=attribute.label, v=value)
        return Question(asked.format(n=name, a=attribute.label), value, _polished(answer), names_item)


def _polished(sentence: str) -> str:
    sentence = re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", sentence)
    return sentence[0].upper() + sentence[1:] + "."
