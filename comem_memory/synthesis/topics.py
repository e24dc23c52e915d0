"""What can be said of people, places, organisations, products, animals, events, works and recipes, and asked.

A line is an attribute: label | kind of value | sentences | questions. {n} is the item's name or a pronoun, {s} the
same as a possessive, {v} the value. At least four patterns of each, because `splits.patterns_of` shares them out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attribute:
    label: str
    """What it is called: "mayor", "date of birth"."""
    kind: str
    """The kind of value."""
    sentences: tuple[str, ...]
    """Ways to state it besides the general ones of `phrases`."""
    questions: tuple[str, ...]
    """Ways to ask besides the general ones."""


@dataclass(frozen=True)
class Topic:
    name: str
    nouns: tuple[str, ...]
    """What its things are: "river, island"."""
    named: str
    """The kind of value that their names are."""
    pronouns: tuple[tuple[str, str], ...]
    """Pairs of subject and possessive."""
    attributes: tuple[Attribute, ...]


def topic(name: str, nouns: str, named: str, pronouns: str, attributes: str) -> Topic:
    """A topic from its table; pronouns as "she her,he his"."""
    pairs = tuple((pair.split()[0], pair.split()[1]) for pair in pronouns.split(","))
    lines = tuple(_attribute(line) for line in attributes.strip().splitlines())
    return Topic(name, tuple(nouns.split(",")), named, pairs, lines)


def _attribute(line: str) -> Attribute:
    label, kind, *said = (part.strip() for part in line.split("|"))
    sentences, questions = (tuple(pattern.strip() for pattern in listed.split(";")) for listed in said)
    return Attribute(label, kind, sentences, questions)


TOPICS = (
    topic(
        "people",
        "colleague,neighbour,friend,teacher,guest,singer,scientist,athlete",
        "person",
        "she her,he his",
        """
        job | job | {n} works as a {v}; {n} earns a living as a {v}; {n} has been a {v} for years; {n} found a post as a {v}; {n} is by trade a {v} | What does {n} do for a living?; What is {n}'s profession?; As what does {n} work?; By what work does {n} live?; What trade does {n} follow?
        home town | place | {n} lives in {v}; {n} has a flat in {v}; {n} moved to {v}; {n} settled down in {v}; {n} makes a home in {v} | Where does {n} live?; In which town does {n} live?; Where is {n}'s flat?; Where has {n} settled?; In what town would I visit {n}?
        birthplace | place | {n} was born in {v}; {n} comes from {v}; {n} grew up in {v}; {n} is a native of {v}; {n} first saw the light in {v} | Where was {n} born?; Where does {n} come from?; In which place did {n} grow up?; Of which town is {n} a native?; What is the town of {n}'s birth?
        year of birth | year | {n} was born in {v}; {n} came into the world in {v}; {n} has {v} as year of birth; {n} dates from {v}; {n} entered the world in {v} | When was {n} born?; In which year was {n} born?; What is {n}'s birth year?; Which year did {n} come into the world?; From what year is {n}?
        employer | company | {n} works for {v}; {n} is employed at {v}; {n} has a contract with {v}; {n} joined {v}; {n} is on the payroll of {v} | Who does {n} work for?; Where is {n} employed?; Which company pays {n}?; Whom did {n} join?; On whose payroll is {n}?
        hobby | hobby | {n} spends weekends on {v}; {n} loves {v}; {n} is fond of {v}; {n} took up {v}; {n} relaxes with {v} | What does {n} do in free time?; What does {n} love?; How does {n} spend weekends?; What did {n} take up?; With what does {n} relax?
        pet | animal | {n} keeps a {v} at home; {n} has a tame {v}; {n} looks after a {v}; {n} adopted a {v}; {n} shares the house with a {v} | Which animal does {n} keep?; What pet does {n} have?; Which animal does {n} look after?; What animal did {n} adopt?; With which animal does {n} share the house?
        instrument | instrument | {n} plays the {v}; {n} practises the {v}; {n} gives lessons on the {v}; {n} performs on the {v}; {n} has mastered the {v} | Which instrument does {n} play?; What does {n} practise?; On which instrument does {n} give lessons?; What does {n} perform on?; Which instrument has {n} mastered?
        age | small | {n} is {v} years old; {n} turned {v} this year; {n} is aged {v}; {n} has just become {v}; {n} counts {v} years | How old is {n}?; What is {n}'s age?; What age did {n} turn?; How many years old has {n} become?; How many years does {n} count?
        """,
    ),
    topic(
        "places",
        "town,island,valley,village,harbour,province,district",
        "place",
        "it its",
        """
        region | continent | {n} lies in {v}; {n} is part of {v}; {n} belongs to {v}; {n} is found in {v}; {n} is situated in {v} | Where does {n} lie?; Which region is {n} part of?; To what region does {n} belong?; Where in the world is {n} found?; In what part of the world is {n} situated?
        mayor | person | {n} is governed by {v}; {n} has {v} as mayor; {v} is the mayor of {n}; {v} was elected to run {n}; {v} heads the council of {n} | Who governs {n}?; Who is the mayor of {n}?; Which person runs {n}?; Who was elected to run {n}?; Who heads the council of {n}?
        population | number | {v} people live in {n}; {n} has {v} inhabitants; {n} is home to {v} people; {n} counts {v} residents; {n} has a population of {v} | How many people live in {n}?; How many inhabitants does {n} have?; To how many people is {n} home?; How many residents does {n} count?; How large is the population of {n}?
        area | area | {n} covers {v}; {n} has a surface of {v}; {n} is {v} large; {n} takes up {v}; {n} extends over {v} | How large is {n}?; What area does {n} cover?; What is the surface of {n}?; How much land does {n} take up?; Over what area does {n} extend?
        main export | exports | {n} sells {v} abroad; {n} is known for its {v}; {n} lives on {v}; {n} ships {v} to the world; {n} exports {v} above all | What does {n} sell abroad?; For what is {n} known?; What does {n} live on?; What does {n} ship to the world?; What does {n} export above all?
        climate | climate | {n} has a climate that is {v}; {n} is {v} most of the year; {n} has {v} weather; {n} is felt to be {v} by visitors; {n} is called {v} by those who know its weather | What is the weather like in {n}?; What kind of climate does {n} have?; How is the climate in {n}?; How do visitors feel the weather of {n}?; What do people call the weather of {n}?
        founding | year | {n} was founded in {v}; {n} has stood since {v}; {n} goes back to {v}; {n} received its charter in {v}; {n} is first recorded in {v} | When was {n} founded?; Since when has {n} stood?; To which year does {n} go back?; When did {n} receive its charter?; In which year is {n} first recorded?
        symbol | animal | {n} carries a {v} in its coat of arms; {n} has a {v} as its symbol; {n} shows a {v} on its flag; {n} honours the {v}; {n} puts a {v} on its stamps | Which animal is in the coat of arms of {n}?; Which animal is the symbol of {n}?; What animal does the flag of {n} show?; Which animal does {n} honour?; What animal is on the stamps of {n}?
        calling code | dialcode | {n} is reached with the code {v}; {n} has the phone code {v}; {n} begins its numbers with {v}; {n} answers under the prefix {v}; {n} is dialled with {v} first | With which code is {n} reached?; What is the phone code of {n}?; With what do phone numbers in {n} begin?; Under which prefix does {n} answer?; What is dialled first to call {n}?
        """,
    ),
    topic(
        "organisations",
        "company,museum,school,club,restaurant,bank,clinic,theatre",
        "company",
        "it its",
        """
        founder | person | {n} was founded by {v}; {v} started {n}; {n} was set up by {v}; {v} brought {n} to life; {n} goes back to an idea of {v} | Who founded {n}?; Who started {n}?; By whom was {n} set up?; Who brought {n} to life?; To whose idea does {n} go back?
        year of foundation | year | {n} was set up in {v}; {n} opened in {v}; {n} has existed since {v}; {n} started work in {v}; {n} dates back to {v} | When was {n} set up?; In which year did {n} open?; Since when has {n} existed?; When did {n} start work?; To what year does {n} date back?
        headquarters | place | {n} is based in {v}; {n} has its head office in {v}; {n} is run from {v}; {n} has its seat in {v}; {n} resides in {v} | Where is {n} based?; Where is the head office of {n}?; From which town is {n} run?; Where does {n} have its seat?; In which town does {n} reside?
        director | person | {v} runs {n}; {n} is led by {v}; {n} has {v} at the top; {n} answers to {v}; {v} is in charge of {n} | Who runs {n}?; Who leads {n}?; Who is at the top of {n}?; To whom does {n} answer?; Who is in charge of {n}?
        number of employees | number | {n} employs {v} people; {v} people work at {n}; {n} has a staff of {v}; {n} gives work to {v} people; {n} counts {v} on its payroll | How many people work at {n}?; How many people does {n} employ?; How large is the staff of {n}?; To how many people does {n} give work?; How many are on the payroll of {n}?
        closing day | day | {n} is closed on {v}; {n} does not open on {v}; {n} rests every {v}; {n} stays shut on {v}; {n} keeps its doors locked each {v} | On which day is {n} closed?; When does {n} not open?; On what day does {n} rest?; Which day does {n} stay shut?; On what day are the doors of {n} locked?
        opening time | time | {n} opens at {v}; {n} receives guests from {v}; {n} can be entered from {v}; {n} unlocks its doors at {v}; {n} begins its day at {v} | When does {n} open?; From when does {n} receive guests?; From what time can one enter {n}?; When does {n} unlock its doors?; At what time does {n} begin its day?
        main rival | company | {n} competes with {v}; {n} has {v} as its rival; {n} fights {v} for customers; {n} is challenged by {v}; {n} keeps an eye on its competitor {v} | Who does {n} compete with?; Who is the rival of {n}?; Whom does {n} fight for customers?; By whom is {n} challenged?; On which competitor does {n} keep an eye?
        business | industry | {n} is active in {v}; {n} makes its money with {v}; {n} works in {v}; {n} specialises in {v}; {n} belongs to the world of {v} | In what field is {n} active?; With what does {n} make its money?; In which line of business does {n} work?; In what does {n} specialise?; To which world does {n} belong?
        """,
    ),
    topic(
        "products",
        "lamp,chair,bicycle,backpack,kettle,camera,drone,tent,printer",
        "product",
        "it its",
        """
        price | price | {n} sells for {v}; {n} costs {v}; {n} is priced at {v}; {n} can be had for {v}; {n} goes over the counter at {v} | How much is {n}?; What does {n} cost?; At what price is {n} sold?; For how much can {n} be had?; For what sum does {n} go over the counter?
        maker | company | {n} is made by {v}; {v} builds {n}; {n} comes from the factory of {v}; {n} is produced by {v}; {n} bears the label of {v} | Who makes {n}?; Which company builds {n}?; From whose factory does {n} come?; By whom is {n} produced?; Whose label does {n} bear?
        material | material | {n} is made of {v}; {n} consists of {v}; {n} has a body of {v}; {n} is built from {v}; {n} is formed out of {v} | What is {n} made of?; Of what material does {n} consist?; What is the body of {n} made of?; From what is {n} built?; Out of which material is {n} formed?
        weight | weight | {n} weighs {v}; {n} has a weight of {v}; {n} comes to {v}; {n} brings {v} to the scales; {n} tips the balance at {v} | How heavy is {n}?; What does {n} weigh?; To what weight does {n} come?; How much does {n} bring to the scales?; At what does {n} tip the balance?
        colour | colour | {n} comes in {v}; {n} is painted {v}; {n} has a {v} finish; {n} is sold in {v}; {n} was given a {v} coat | Which colour does {n} have?; In what colour is {n} painted?; What finish does {n} have?; In which colour is {n} sold?; What colour is the coat of {n}?
        model number | code | {n} is listed as {v}; {n} has the model number {v}; {n} carries the code {v}; {n} is filed under {v}; {n} is catalogued as {v} | Under which number is {n} listed?; What is the model number of {n}?; Which code does {n} carry?; Under what is {n} filed?; How is {n} catalogued?
        special feature | feature | {n} is {v}; {n} has been made {v}; {n} turns out to be {v}; {n} is said to be {v}; {n} is advertised as {v} | What is special about {n}?; How has {n} been made?; What does {n} turn out to be?; What is {n} said to be?; As what is {n} advertised?
        launch date | date | {n} goes on sale on {v}; {n} will be in shops from {v}; {n} is launched on {v}; {n} reaches buyers on {v}; {n} hits the shelves on {v} | When does {n} go on sale?; From when is {n} in shops?; On which date is {n} launched?; When does {n} reach buyers?; On what date does {n} hit the shelves?
        warranty | small | {n} has a warranty of {v} months; {n} is guaranteed for {v} months; {n} is covered for {v} months; {n} comes with {v} months of free repair; {n} is insured by its maker for {v} months | How many months of warranty does {n} have?; For how many months is {n} guaranteed?; How long is {n} covered?; How many months of free repair does {n} come with?; For how many months does its maker insure {n}?
        """,
    ),
    topic(
        "animals",
        "bird,fish,beetle,lizard,frog,monkey,snail,butterfly",
        "species",
        "it its",
        """
        habitat | habitat | {n} lives in {v}; {n} is at home in {v}; {n} hides in {v}; {n} prefers {v}; {n} builds its nest in {v} | Where does {n} live?; Where is {n} at home?; Where does {n} hide?; What surroundings does {n} prefer?; Where does {n} build its nest?
        home | place | {n} comes from near {v}; {n} was first seen at {v}; {n} is met around {v}; {n} has its origin in {v}; {n} is native to {v} | Where does {n} come from?; Where was {n} first seen?; Around which place is {n} met?; Where does {n} have its origin?; To what place is {n} native?
        diet | food | {n} feeds on {v}; {n} eats {v}; {n} lives on {v}; {n} hunts for {v}; {n} is kept alive by {v} | What does {n} eat?; On what does {n} feed?; What does {n} live on?; For what food does {n} hunt?; By which food is {n} kept alive?
        colour | colour | {n} is {v}; {n} has a {v} back; {n} shows a {v} pattern; {n} glows {v} in the dark; {n} wears {v} | What colour is {n}?; What colour is the back of {n}?; What pattern does {n} show?; In which colour does {n} glow in the dark?; What colour does {n} wear?
        size | length | {n} grows to {v}; {n} measures {v}; {n} reaches a length of {v}; {n} becomes {v} long; {n} stretches to {v} | How large does {n} grow?; What does {n} measure?; What length does {n} reach?; How long does {n} become?; To what length does {n} stretch?
        enemy | animal | {n} fears the {v}; {n} is hunted by the {v}; {n} flees from the {v}; {n} has the {v} as its enemy; {n} avoids the {v} | What does {n} fear?; By which animal is {n} hunted?; From what does {n} flee?; Which animal is the enemy of {n}?; What animal does {n} avoid?
        discoverer | person | {n} was first described by {v}; {v} discovered {n}; {n} was found by {v}; {n} owes its name to {v}; {n} was made known by {v} | Who first described {n}?; Who discovered {n}?; By whom was {n} found?; To whom does {n} owe its name?; Who made {n} known?
        lifespan | small | {n} lives for {v} years; {n} reaches an age of {v}; {n} dies at {v} years; {n} survives {v} years; {n} has a life of {v} years | How many years does {n} live?; What age does {n} reach?; At how many years does {n} die?; How many years does {n} survive?; How long is the life of {n}?
        """,
    ),
    topic(
        "events",
        "conference,festival,concert,match,trip,wedding,exhibition,race",
        "event",
        "it its",
        """
        date | date | {n} takes place on {v}; {n} was moved to {v}; {n} is planned for {v}; {n} happens on {v}; {n} has been fixed for {v} | When is {n}?; On which date does {n} take place?; For when is {n} planned?; When does {n} happen?; For what date has {n} been fixed?
        place | place | {n} is held in {v}; {n} takes place in {v}; {n} brings people to {v}; {n} has {v} as its venue; {n} is staged in {v} | Where is {n} held?; Where does {n} take place?; To which town does {n} bring people?; What is the venue of {n}?; In which town is {n} staged?
        organiser | person | {n} is organised by {v}; {v} takes care of {n}; {v} plans {n}; {n} lies in the hands of {v}; {n} is prepared by {v} | Who organises {n}?; Who takes care of {n}?; Who plans {n}?; In whose hands does {n} lie?; Who prepares {n}?
        start | time | {n} begins at {v}; {n} starts at {v}; {n} opens at {v}; {n} gets going at {v}; {n} kicks off at {v} | At what time does {n} start?; When does {n} begin?; At what hour does {n} open?; When does {n} get going?; What time does {n} kick off?
        number of guests | number | {n} expects {v} people; {n} has {v} guests; {v} people come to {n}; {n} is attended by {v} people; {n} draws a crowd of {v} | How many people does {n} expect?; How many guests does {n} have?; How many people come to {n}?; By how many people is {n} attended?; How large a crowd does {n} draw?
        ticket price | price | {n} asks {v} for entry; {n} costs {v} to visit; {n} can be seen for {v}; {n} lets people in for {v}; {n} charges {v} at the door | How much is entry to {n}?; What does it cost to visit {n}?; For how much can {n} be seen?; For what price does {n} let people in?; How much does {n} charge at the door?
        winner | person | {v} won {n}; {n} was won by {v}; {n} ended with a prize for {v}; {n} had {v} as its winner; {n} was decided in favour of {v} | Who won {n}?; By whom was {n} won?; For whom did {n} end with a prize?; Who was the winner of {n}?; In whose favour was {n} decided?
        """,
    ),
    topic(
        "works",
        "book,film,song,painting,opera,game,poem,play",
        "title",
        "it its",
        """
        author | person | {n} was made by {v}; {v} created {n}; {n} is a work of {v}; {n} came from the hand of {v}; {n} was thought up by {v} | Who made {n}?; Who created {n}?; Whose work is {n}?; From whose hand did {n} come?; Who thought up {n}?
        year | year | {n} came out in {v}; {n} appeared in {v}; {n} was finished in {v}; {n} was first shown in {v}; {n} was published in {v} | When did {n} come out?; In which year did {n} appear?; When was {n} finished?; When was {n} first shown?; In what year was {n} published?
        genre | genre | {n} belongs to {v}; {n} is a piece of {v}; {n} is counted as {v}; {n} falls under {v}; {n} is shelved with {v} | To which genre does {n} belong?; What kind of work is {n}?; As what is {n} counted?; Under which genre does {n} fall?; With what is {n} shelved?
        setting | place | {n} is set in {v}; {n} plays in {v}; {n} leads us to {v}; {n} has {v} as its scene; {n} unfolds in {v} | Where is {n} set?; Where does {n} play?; To which place does {n} lead us?; What is the scene of {n}?; Where does {n} unfold?
        hero | first | {n} tells of {v}; {n} has {v} as its main character; {n} follows {v}; {n} is about someone called {v}; {n} has a hero by the name of {v} | Who is the main character of {n}?; Of whom does {n} tell?; Whom does {n} follow?; Who is {n} about?; What is the name of the hero of {n}?
        length | minutes | {n} lasts {v}; {n} takes {v}; {n} runs for {v}; {n} fills {v}; {n} goes on for {v} | How long is {n}?; How long does {n} last?; For how long does {n} run?; How much time does {n} fill?; For how long does {n} go on?
        publisher | company | {n} was brought out by {v}; {n} was published by {v}; {n} is sold by {v}; {n} is distributed by {v}; {n} reached the public through {v} | Who brought out {n}?; By whom was {n} published?; Which company sells {n}?; Who distributes {n}?; Through whom did {n} reach the public?
        """,
    ),
    topic(
        "recipes",
        "soup,cake,stew,salad,pie,sauce,bread,dessert",
        "dish",
        "it its",
        """
        main ingredient | food | {n} is made from {v}; {n} contains {v} above all; {n} needs plenty of {v}; {n} is based on {v}; {n} owes its taste to {v} | What is {n} made from?; What does {n} contain above all?; Of what does {n} need plenty?; On what is {n} based?; To what does {n} owe its taste?
        spice | spice | {n} is seasoned with {v}; {n} gets a pinch of {v}; {n} is flavoured with {v}; {n} smells of {v}; {n} is finished with {v} | With what is {n} seasoned?; A pinch of what goes into {n}?; With what is {n} flavoured?; Of what does {n} smell?; With which spice is {n} finished?
        cooking time | minutes | {n} cooks for {v}; {n} needs {v}; {n} is ready after {v}; {n} stays on the stove for {v}; {n} simmers for {v} | How long does {n} cook?; How much time does {n} need?; After how long is {n} ready?; How long does {n} stay on the stove?; For how long does {n} simmer?
        number of servings | small | {n} serves {v} people; {n} is enough for {v} people; {n} gives {v} portions; {n} feeds {v}; {n} fills {v} plates | How many people does {n} serve?; For how many people is {n} enough?; How many portions does {n} give?; How many does {n} feed?; How many plates does {n} fill?
        origin | place | {n} comes from {v}; {n} was first cooked in {v}; {n} is a speciality of {v}; {n} was brought over from {v}; {n} has its roots in {v} | Where does {n} come from?; Where was {n} first cooked?; Of which town is {n} a speciality?; From where was {n} brought over?; Where does {n} have its roots?
        texture | texture | {n} is {v}; {n} should be {v}; {n} turns {v} in the oven; {n} feels {v} on the tongue; {n} comes out {v} | What is {n} like to bite?; How should {n} be?; How does {n} turn in the oven?; How does {n} feel on the tongue?; How does {n} come out?
        matching drink | drink | {n} goes well with {v}; {n} is served with {v}; {n} tastes best with {v}; {n} is accompanied by {v}; {n} calls for {v} beside it | What goes well with {n}?; With which drink is {n} served?; With what does {n} taste best?; By what is {n} accompanied?; What drink does {n} call for?
        cook | person | {n} was taught to us by {v}; {n} is the recipe of {v}; {n} was invented by {v}; {n} was handed down by {v}; {n} is credited to {v} | Who taught us {n}?; Whose recipe is {n}?; Who invented {n}?; By whom was {n} handed down?; To whom is {n} credited?
        """,
    ),
)
