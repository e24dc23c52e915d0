"""What can be said of the things of a made-up world, and asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attribute:
    label: str
    """What it is called: "capital", "date of birth"."""
    kind: str
    """The kind of value."""
    sentences: tuple[str, ...] = ()
    """Ways to state it besides the general ones; {n} the subject or a pronoun, {v} the value."""
    questions: tuple[str, ...] = ()
    """Ways to ask besides the general ones."""


def attribute(line: str) -> Attribute:
    label, kind, sentences, questions = (part.strip() for part in line.split("|"))

    def split(listed: str) -> tuple[str, ...]:
        return tuple(s.strip() for s in listed.split(";") if s.strip())

    return Attribute(label, kind, split(sentences), split(questions))


@dataclass(frozen=True)
class Domain:
    nouns: tuple[str, ...]
    name: str
    pronoun: str
    possessive: str
    attributes: tuple[Attribute, ...]
    where: Attribute
    """What an opening such as "a land in the north" tells."""


WHAT = attribute("kind | | {n} is a {v} | What is {n}?; What kind of thing is {n}?; What sort of thing is {n}?")
WHERE = attribute("place | place | {n} is in {v} | Where is {n}?; Where can I find {n}?; In which place is {n}?")
REGION = attribute(
    "continent | continent | {n} lies in {v}; {n} is part of {v} | Where is {n}?; Where in the world is {n}?; "
    "In what part of the world does {n} lie?; To which part of the world does {n} belong?; "
    "Which region does {n} belong to?"
)


def domain(nouns: str, name: str, pronoun: str, possessive: str, attributes: str, where: Attribute = WHERE) -> Domain:
    lines = tuple(attribute(line) for line in attributes.strip().splitlines())
    return Domain(tuple(nouns.split(",")), name, pronoun, possessive, lines, where)


DOMAINS = (
    domain(
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
        REGION,
    ),
    domain(
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
    domain(
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
    domain(
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
    domain(
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
    domain(
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
    domain(
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

STATEMENTS = (
    "the {a} of {n} is {v}",
    "{s} {a} is {v}",
    "{s} {a} is {v}",
    "{n} has {v} as {p} {a}",
    "as for the {a}, it is {v}",
    "{a}: {v}",
    "the {a} is {v}",
)
QUESTIONS = (
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
OPENINGS = (
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
