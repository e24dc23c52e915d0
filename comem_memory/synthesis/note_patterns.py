"""Ways to write notes, to ask what they say, and to answer, in English.

Slots are kinds of values (`note_values`): {room} is a room, {room2} another one. In frames and lists {n} is whom or
what a note is about, {a} what is said of it (an attribute's label), {k} a key, {v} a value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from comem_memory.synthesis.splits import SPLITS, Split, shares_of


@dataclass(frozen=True)
class Asked:
    """How one slot of a pattern is asked for."""

    slot: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Pattern:
    """A sentence of one or more facts."""

    sentence: str
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class Frame:
    """What can be said, asked and answered of any attribute: all sentences of notes and of answers, all questions."""

    notes: Shares[str]
    answers: Shares[str]
    questions: Shares[str]


@dataclass(frozen=True)
class Subject:
    """Whom or what notes are about.

    Args:
        named: Kinds of values that it is called by.
        attributes: Pairs of label and kind of value.
    """

    named: tuple[str, ...]
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ListFormat:
    """How pairs of key and value are written.

    Args:
        pair: Of {k} and {v}.
        between: Pairs.
        before, after: The list.
        joint: Between the words of a key.
    """

    pair: str
    between: str = "\n"
    before: str = ""
    after: str = ""
    joint: str = " "


Thing = TypeVar("Thing")
Shares = dict[Split, list[Thing]]


def _shares(*tables: Sequence[Thing]) -> Shares[Thing]:
    """What each split has of some tables; a table's shares are the same wherever it stands."""
    return {split: [thing for table in tables for thing in shares_of(table, split)] for split in SPLITS}


def _said(*tables: str) -> Shares[str]:
    return _shares(*map(_lines, tables))


def _pattern(line: str) -> Pattern:
    sentence, *asked = (part.strip() for part in line.split("|"))
    return Pattern(sentence, tuple(_asked(part) for part in asked))


def _asked(part: str) -> Asked:
    slot, said = part.split(":", 1)
    questions, answers = (_lines(one, ";") for one in said.split(">"))
    return Asked(slot, questions, answers)


def _subject(line: str) -> Subject:
    named, attributes = line.split("|")
    pairs = (re.fullmatch(r"(.+):(\w+)", one) for one in _lines(attributes, ","))
    return Subject(_lines(named, ","), tuple((pair[1], pair[2]) for pair in pairs if pair))


def _lines(text: str, between: str = "\n") -> tuple[str, ...]:
    return tuple(one.strip() for one in text.strip().split(between))


# A line is a pattern: sentence | slot: questions > answers | slot: ...
_PATTERNS = """
    {person}'s locker is now {code}, not {code2} | code: Which locker is {person}'s now?; What is the current locker of {person}?; Where does {person} lock things up these days? > {person}'s locker is {code}.; By now {person} has locker {code}. | code2: Which locker did {person} have before?; What was {person}'s old locker?; Which locker is no longer {person}'s? > {person} used to have locker {code2}.; The old locker of {person} was {code2}.
    User prefers {drink} for {occasion} | drink: What does the user prefer for {occasion}?; Which drink should I choose for {occasion}?; What would the user like to drink for {occasion}? > The user prefers {drink} for {occasion}.; For {occasion} the user prefers {drink}.
    User prefers {word} over {word2} | word: What does the user prefer over {word2}?; What comes before {word2} for the user?; Which does the user like better than {word2}? > The user prefers {word} over {word2}.; The user likes {word} better than {word2}. | word2: What does the user like less than {word}?; Over what does the user prefer {word}? > The user likes {word2} less than {word}.; {word} is preferred over {word2}.
    decided: {decision} because {reason} | decision: What was decided?; Which decision was made?; What did we settle on? > It was decided to {decision}.; The decision: {decision}. | reason: Why was it decided to {decision}?; What was the reason to {decision}? > It was decided because {reason}.; The reason is that {reason}.
    {first} put the {object} in {spot} | spot: Where did {first} put the {object}?; In which place is the {object} that {first} put away?; Where can I find the {object}? > {first} put the {object} in {spot}.; The {object} is in {spot}. | object: What did {first} put in {spot}?; Which thing did {first} leave in {spot}? > {first} put the {object} there.; In {spot} {first} put the {object}.
    moved my {object} from {spot} to {spot2} | spot2: Where did I move my {object}?; Where is my {object} now?; In which place do I keep my {object} by now? > You moved your {object} to {spot2}.; Your {object} is in {spot2} now. | spot: Where was my {object} before I moved it?; From where did I take my {object}? > Before that your {object} was in {spot}.; You took your {object} from {spot}.
    the {object} I lent to {person} comes back {date} | person: To whom did I lend the {object}?; Who has my {object}?; Who borrowed the {object} from me? > You lent the {object} to {person}.; {person} has your {object}. | date: When does the {object} come back?; On which date will I have the {object} again? > The {object} comes back {date}.; You get the {object} back {date}.
    call {person} back on {phone} | phone: On which number should I call {person} back?; How can {person} be called back?; Which number did {person} leave? > Call {person} back on {phone}.; {person} can be called back on {phone}.
    meeting with {person} moved from {time} to {time2} | time2: To what time was the meeting with {person} moved?; When is the meeting with {person} now?; At what time do I meet {person} after the change? > The meeting with {person} was moved to {time2}.; You now meet {person} at {time2}. | time: At what time was the meeting with {person} at first?; From what time was the meeting with {person} moved? > The meeting with {person} was at {time} at first.; It was moved from {time}.
    {person} arrives {date} at {time} in {city} | date: On what date does {person} arrive?; Which day should I expect {person}?; What is the date of {person}'s arrival? > {person} arrives {date}.; The arrival of {person} is {date}. | time: At what time does {person} arrive?; What is the hour of {person}'s arrival? > {person} arrives at {time}.; The arrival of {person} is at {time}. | city: In which town does {person} arrive?; Where does {person} get in? > {person} arrives in {city}.; {city} is where {person} gets in.
    my train to {city} leaves at {time} from platform {small} | time: When does my train to {city} leave?; At what time do I take the train to {city}? > Your train to {city} leaves at {time}.; You take the train to {city} at {time}. | small: From which platform does my train to {city} leave?; Which platform for the train to {city}? > Your train to {city} leaves from platform {small}.; It is platform {small} for {city}.
    flight to {city} is {flight}, seat {seatnumber} | flight: What is the flight to {city}?; Which flight number takes me to {city}? > The flight to {city} is {flight}.; Flight {flight} goes to {city}. | seatnumber: Which seat do I have on the flight to {city}?; Where do I sit on the way to {city}? > On the flight to {city} you have seat {seatnumber}.; Your seat to {city} is {seatnumber}.
    staying at {company} in {city} until {date} | company: Where am I staying in {city}?; With whom do I stay in {city}? > You are staying at {company} in {city}.; In {city} you stay at {company}. | date: Until when am I staying in {city}?; When does my stay in {city} end? > You are staying in {city} until {date}.; Your stay in {city} ends {date}.
    {first} is allergic to {allergy}, careful with the soup | allergy: What is {first} allergic to?; What must not be in {first}'s soup?; Which allergy does {first} have? > {first} is allergic to {allergy}.; {first} has an allergy to {allergy}.
    {person} only eats {diet} now | diet: What kind of food does {person} eat now?; Which diet is {person} on?; How does {person} eat these days? > {person} only eats {diet} now.; {person} has a {diet} diet.
    ordered {food} and {drink} for {first} | food: What food was ordered for {first}?; What will {first} eat?; Which dish did we order for {first}? > We ordered {food} for {first}.; {first} gets {food}. | drink: Which drink was ordered for {first}?; What will {first} drink? > We ordered {drink} for {first}.; {first} gets {drink} to drink.
    no more {food} at home, buy some on {day} | food: What should I buy because there is none at home?; What have we run out of at home?; Which food is missing at home? > There is no more {food} at home.; You should buy {food}. | day: On which day should I buy {food}?; When do I buy {food}? > You should buy {food} on {day}.; Buy it on {day}.
    please {errand} before {date} | errand: What should be done before {date}?; Which errand is due by {date}?; What was I asked to do before {date}? > Before {date} you should {errand}.; The errand is to {errand}. | date: Before which date should I {errand}?; By when is it due to {errand}? > You should {errand} before {date}.; It is due before {date}.
    todo for {first}: {errand} by {time} | errand: What does {first} have to do?; What is on {first}'s list?; Which task has {first}? > {first} has to {errand}.; On {first}'s list: {errand}. | time: By what time does {first} have to {errand}?; Until when may {first} take to {errand}? > {first} has to {errand} by {time}.; {first} has until {time}.
    {person} promised to {errand} | errand: What did {person} promise?; What can we count on {person} to do?; What is {person} going to do for us? > {person} promised to {errand}.; The promise of {person} was to {errand}.
    I owe {first} {price} for the {object} | price: How much do I owe {first}?; What does {first} get from me for the {object}?; What is my debt to {first}? > You owe {first} {price}.; For the {object} you owe {first} {price}. | object: For what do I owe {first} money?; What did {first} pay for me? > You owe {first} for the {object}.; It was for the {object}.
    {person} paid {price} on {date} | price: How much did {person} pay?; What sum came from {person}?; What was the payment of {person}? > {person} paid {price}.; The payment of {person} was {price}. | date: On which date did {person} pay?; When did the money from {person} come? > {person} paid on {date}.; The money from {person} came on {date}.
    invoice {code} from {company} is {price} | price: How much is the invoice from {company}?; What does {company} charge on its invoice? > The invoice from {company} is {price}.; {company} charges {price}. | code: What is the number of the invoice from {company}?; Under which code did {company} send an invoice? > The invoice from {company} is {code}.; {company} sent invoice {code}.
    budget for {event} went up to {price} | price: What is the budget for {event} now?; To how much did the budget for {event} go up?; How much may {event} cost? > The budget for {event} went up to {price}.; {event} may cost {price}.
    bought a {gift} for {first}, cost me {price} | gift: What did I buy for {first}?; Which present does {first} get from me? > You bought a {gift} for {first}.; {first} gets a {gift} from you. | price: How much did I spend on {first}'s present?; What was the cost of the {gift}? > You spent {price} on it.; The {gift} cost you {price}.
    {first} would love a {gift} for the birthday | gift: What would {first} love for the birthday?; What should I give {first}?; Which birthday present does {first} want? > {first} would love a {gift}.; A {gift} is what {first} wants.
    {person} works as a {job} at {company} | job: What is the work of {person}?; As what is {person} employed at {company}? > {person} works as a {job}.; At {company} {person} is a {job}. | company: For which firm does {person} work?; Where does {person} earn money? > {person} works at {company}.; The firm of {person} is {company}.
    met {person}, {job} from {city} | job: What is the trade of {person}, whom I met?; What does {person} do, whom I got to know? > {person} is a {job}.; You met {person}, who is a {job}. | city: From which town is {person}, whom I met?; Where does the {job} {person} come from? > {person} is from {city}.; You met {person} from {city}.
    {first} moved to {address} in {city} | address: To which street did {first} move?; What is {first}'s new address in {city}?; Where in {city} does {first} live? > {first} moved to {address}.; {first} lives at {address}. | city: To which town did {first} move?; In what town is {first}'s new home? > {first} moved to {city}.; The new home of {first} is in {city}.
    send the parcel to {person}, {address} | address: Where should the parcel for {person} go?; To which address do we send {person}'s parcel? > The parcel for {person} goes to {address}.; Send it to {address}. | person: To whom should the parcel be sent?; Who gets the parcel? > The parcel goes to {person}.; {person} gets the parcel.
    the parcel is at {company}, pickup code {pin} | pin: What is the pickup code of the parcel?; With which code do I get the parcel out? > The pickup code is {pin}.; You get the parcel with {pin}. | company: Where is the parcel to be picked up?; Who keeps the parcel for me? > The parcel is at {company}.; {company} keeps the parcel.
    the door code at {company} is {pin} since {day} | pin: Which code opens the door at {company}?; How do I get in at {company}?; What do I type at the door of {company}? > The door code at {company} is {pin}.; Type {pin} at {company}. | day: Since which day is there a new door code at {company}?; When did {company} change the door code? > The door code at {company} changed on {day}.; It is new since {day}.
    the key for {room} hangs in {spot} | spot: Where does the key for {room} hang?; Where do I find the key to {room}? > The key for {room} hangs in {spot}.; Look in {spot} for the key to {room}. | room: Which room does the key in {spot} open?; For which room is the key in {spot}? > The key in {spot} is for {room}.; It opens {room}.
    {person} changed desks and sits in {room} | room: In which room does {person} sit after changing desks?; Where is {person} to be found?; Which room did {person} change to? > {person} sits in {room}.; Since the change {person} is in {room}.
    {first} parks the car with plate {plate} in {spot} | plate: What is the plate of {first}'s car?; Which plate has the car that {first} parks? > The plate of {first}'s car is {plate}.; {first}'s car has plate {plate}. | spot: Where does {first} park?; In what place does {first} leave the car? > {first} parks in {spot}.; The car of {first} is in {spot}.
    rented a {transport} under booking {code} | transport: What did I rent?; Which vehicle is booked under {code}?; With what do I travel on booking {code}? > You rented a {transport}.; Booking {code} is for a {transport}. | code: Under which booking did I rent a {transport}?; What is the booking code of the {transport}? > The {transport} is booked under {code}.; The booking of the {transport} is {code}.
    {first} goes to {city} by {transport} | transport: How does {first} go to {city}?; By which means does {first} travel to {city}? > {first} goes to {city} by {transport}.; {first} takes the {transport} to {city}. | city: Where does {first} go by {transport}?; What is {first}'s destination? > {first} goes to {city}.; The destination of {first} is {city}.
    {person} is on leave until {date}, ask {first} instead | date: Until when is {person} on leave?; When does {person} return from leave? > {person} is on leave until {date}.; The leave of {person} ends {date}. | first: Whom should I ask instead of {person}?; Who stands in for {person}? > Ask {first} instead of {person}.; {first} stands in for {person}.
    {first} plays the {instrument} on {day} evenings | instrument: What does {first} play in the evenings?; Which instrument does {first} have? > {first} plays the {instrument}.; The instrument of {first} is the {instrument}. | day: On which evenings does {first} play music?; Which evening is for {first}'s music? > {first} plays on {day} evenings.; It is {day} evening when {first} plays.
    {first} took up {hobby} last {season} | hobby: What did {first} take up?; What is the new hobby of {first}? > {first} took up {hobby}.; The new hobby of {first} is {hobby}. | season: In which season did {first} begin with {hobby}?; When did {first} start {hobby}? > {first} took it up last {season}.; It was last {season}.
    my sister {first} has a {animal} called {made} | animal: Which animal does my sister {first} have?; What kind of pet is {made}? > Your sister {first} has a {animal}.; {made} is a {animal}. | made: What is the {animal} of my sister {first} called?; What name did {first} give to the {animal}? > The {animal} is called {made}.; Your sister {first} calls the {animal} {made}.
    the new neighbour is called {person} | person: What is the new neighbour called?; Who moved in next door?; What is the name of the new neighbour? > The new neighbour is called {person}.; {person} is the new neighbour.
    call me {made}, nobody says {first} | made: What should I be called?; Which name do I want to hear?; What do you call me instead of {first}? > You want to be called {made}.; I call you {made}.
    {first}'s surname is spelled {last} | last: How is {first}'s surname spelled?; What is the family name of {first}?; Which spelling does {first}'s surname have? > {first}'s surname is spelled {last}.; It is spelled {last}.
    it is {person}, not {person2}, who signs | person: Who signs?; Whose signature is needed?; Which person really signs? > {person} signs.; The one who signs is {person}. | person2: Who does not sign after all?; Who was wrongly thought to sign? > {person2} does not sign.; It is not {person2}.
    correction: {company} has {digits} employees, not {digits2} | digits: How many employees does {company} have?; What is the right number of employees of {company}? > {company} has {digits} employees.; The right number for {company} is {digits}. | digits2: Which wrong number of employees was noted for {company}?; What number was corrected for {company}? > The wrong number was {digits2}.; {digits2} was noted for {company} by mistake.
    scrap {word}, the code word is {word2} | word2: What is the code word?; Which code word counts now? > The code word is {word2}.; It counts {word2} as the code word. | word: Which code word was scrapped?; What is the code word no longer? > The scrapped code word is {word}.; It is no longer {word}.
    password hint for {service}: {words} | words: What is the password hint for {service}?; Which hint belongs to the password of {service}? > The hint for {service} is: {words}.; For {service} the password hint is {words}.
    temporary login for {service} is {email} with {code} | email: With which address does one log in to {service}?; What is the temporary login for {service}? > The login for {service} is {email}.; Log in to {service} as {email}. | code: Which password goes with the login for {service}?; What do I type as password at {service}? > The password for {service} is {code}.; At {service} the password is {code}.
    wifi in the {place} flat: {code} | code: What is the wifi in the {place} flat?; How do I get online in the {place} flat?; Which wifi key has the flat in {place}? > The wifi in the {place} flat is {code}.; In the {place} flat use {code}.
    write to {email} if {service} goes down | email: To whom do I write if {service} goes down?; Which address is for trouble with {service}? > Write to {email} if {service} goes down.; For trouble with {service} there is {email}.
    {service} listens on {host} port {port} | host: On which host does {service} listen?; Which machine runs {service}? > {service} listens on {host}.; The host of {service} is {host}. | port: On which port does {service} listen?; What port do I use for {service}? > {service} listens on port {port}.; The port of {service} is {port}.
    pinned {service} to {version}; {version2} breaks the build | version: To which version is {service} pinned?; What version of {service} do we use? > {service} is pinned to {version}.; We use {version} of {service}. | version2: Which version of {service} breaks the build?; What release of {service} must we avoid? > Version {version2} breaks the build.; We avoid {version2} of {service}.
    deploy of {service} failed with {error} | error: With what did the deploy of {service} fail?; Why did the deploy of {service} not go through?; Which error did {service} give? > The deploy of {service} failed with {error}.; {service} gave {error}.
    fixed {service} by {action}, {person} reviewed | action: How was {service} fixed?; What helped {service}? > {service} was fixed by {action}.; What helped was {action}. | person: Who reviewed the fix of {service}?; Whose review did the fix of {service} get? > {person} reviewed it.; The fix of {service} was reviewed by {person}.
    tried {action} on {service}, did not help | action: What was tried on {service} without success?; What did not help {service}? > On {service} {action} was tried.; It did not help {service} to try {action}.
    the logs of {service} are under {path} | path: Where are the logs of {service}?; Under which path does {service} log?; In what folder do I look for the logs of {service}? > The logs of {service} are under {path}.; {service} logs to {path}.
    the bug is in {path}, line {digits} | path: In which file is the bug?; Where in the code is the bug? > The bug is in {path}.; The file with the bug is {path}. | digits: In which line is the bug?; What line of {path} has the bug? > The bug is in line {digits}.; It is line {digits} of {path}.
    last good commit of {service} is {hex} | hex: What is the last good commit of {service}?; To which commit can {service} go back? > The last good commit of {service} is {hex}.; {service} can go back to {hex}.
    branch {branch} belongs to ticket {code} | branch: Which branch belongs to ticket {code}?; Where is the work on ticket {code}? > The branch of ticket {code} is {branch}.; Ticket {code} has branch {branch}. | code: To which ticket does branch {branch} belong?; What ticket is {branch} for? > Branch {branch} belongs to ticket {code}.; It is for ticket {code}.
    ticket {code} went from {first} to {first2} | first2: To whom did ticket {code} go?; Who has ticket {code} now? > Ticket {code} went to {first2}.; {first2} has ticket {code} now. | first: Who had ticket {code} before?; From whom did ticket {code} come? > Ticket {code} came from {first}.; {first} had it before.
    set the threshold to {decimal} on {date} | decimal: To what did I set the threshold?; What is the threshold? > You set the threshold to {decimal}.; The threshold is {decimal}. | date: On which date did I set the threshold?; Since when is the threshold {decimal}? > You set the threshold on {date}.; It was on {date}.
    learning rate {decimal} worked, {decimal2} diverged | decimal: Which learning rate worked?; With what learning rate should I train? > The learning rate {decimal} worked.; Train with {decimal}. | decimal2: Which learning rate diverged?; What learning rate was too high? > The learning rate {decimal2} diverged.; It was {decimal2} that diverged.
    run {code} with seed {digits} scored {decimal} | digits: Which seed had run {code}?; With what seed was {code} run? > Run {code} had seed {digits}.; The seed of {code} was {digits}. | decimal: What did run {code} score?; How good was run {code}? > Run {code} scored {decimal}.; The score of {code} was {decimal}.
    backup of {service} starts at {time} and takes {duration} | time: When does the backup of {service} start?; At what hour is {service} backed up? > The backup of {service} starts at {time}.; {service} is backed up at {time}. | duration: How long does the backup of {service} take?; What time does backing up {service} cost? > The backup of {service} takes {duration}.; Backing up {service} takes {duration}.
    rotate the token of {service} every {duration} | duration: How often is the token of {service} rotated?; After what time does {service} get a new token? > The token of {service} is rotated every {duration}.; {service} gets a new one every {duration}.
    user wants answers as {style} | style: How does the user want answers?; In which form should I answer the user?; What style of answers does the user want? > The user wants answers as {style}.; Answers should come as {style}.
    user works in {program} and hates {program2} | program: In which program does the user work?; What does the user write in? > The user works in {program}.; The program of the user is {program}. | program2: Which program does the user hate?; What program should I never suggest? > The user hates {program2}.; Never suggest {program2}.
    user asked to be reminded of {words} at {time} | words: Of what does the user want to be reminded?; What is the reminder of the user about? > The user wants to be reminded of {words}.; The reminder is about {words}. | time: When does the user want the reminder?; At what time do I remind the user of {words}? > The user wants the reminder at {time}.; Remind the user at {time}.
    user's dog is called {made}, the cat {made2} | made: What is the user's dog called?; Which name has the dog of the user? > The user's dog is called {made}.; The dog's name is {made}. | made2: What is the user's cat called?; Which name has the cat of the user? > The user's cat is called {made2}.; The cat's name is {made2}.
    customer {person} complained about {error} on {date} | error: What did {person} complain about?; Which problem did the customer {person} have? > {person} complained about {error}.; The problem of {person} was {error}. | date: When did {person} complain?; What is the date of {person}'s complaint? > {person} complained on {date}.; The complaint is of {date}.
    customer {code} asks for delivery to {city} | city: To which town does customer {code} want delivery?; Where should the goods of customer {code} go? > Customer {code} asks for delivery to {city}.; The goods go to {city} for {code}. | code: Which customer asks for delivery to {city}?; Who wants goods in {city}? > Customer {code} asks for it.; It is customer {code}.
    order {code}: {digits} pieces in {colour} | digits: How many pieces are in order {code}?; What is the quantity of order {code}? > Order {code} is for {digits} pieces.; There are {digits} pieces in {code}. | colour: In which colour is order {code}?; What colour did they order under {code}? > Order {code} is in {colour}.; The colour of {code} is {colour}.
    stock check: {digits} {object} boxes left in {spot} | digits: How many {object} boxes are left?; What was the count of {object} boxes? > There are {digits} {object} boxes left.; The count is {digits}. | spot: Where are the {object} boxes?; In which place were {object} boxes counted? > The {object} boxes are in {spot}.; They were counted in {spot}.
    the {material} sample lies in {spot} | spot: Where does the {material} sample lie?; In what place do I find the sample of {material}? > The {material} sample lies in {spot}.; You find it in {spot}. | material: Of what is the sample in {spot}?; Which material lies in {spot}? > The sample in {spot} is {material}.; It is {material} that lies there.
    paint the hall {colour}, the stairs {colour2} | colour: In which colour do we paint the hall?; What colour does the hall get? > The hall is painted {colour}.; The hall gets {colour}. | colour2: In which colour do we paint the stairs?; What colour do the stairs get? > The stairs are painted {colour2}.; The stairs get {colour2}.
    {made} needs a pinch of {spice} and {duration} in the oven | spice: A pinch of what does {made} need?; Which spice goes into {made}? > {made} needs a pinch of {spice}.; {spice} goes into {made}. | duration: How long does {made} stay in the oven?; What is the baking time of {made}? > {made} needs {duration} in the oven.; The baking time of {made} is {duration}.
    {event} is in {room} at {time} | room: In which room is {event}?; Where do people gather for {event}? > {event} is in {room}.; The room of {event} is {room}. | time: At what time is {event}?; When do people gather for {event}? > {event} is at {time}.; The time of {event} is {time}.
    {event} was cancelled because {reason} | reason: Why was {event} cancelled?; What is the reason that {event} does not take place? > {event} was cancelled because {reason}.; The reason was that {reason}.
    {session} is every {day} at {time} | day: On which day is {session}?; What weekday has {session}? > {session} is every {day}.; The day of {session} is {day}. | time: At what time is {session}?; When does {session} begin? > {session} is at {time}.; The hour of {session} is {time}.
    dial into {session} with {pin} | pin: With which code do I dial into {session}?; What is the dial code of {session}? > Dial into {session} with {pin}.; The dial code of {session} is {pin}.
    {session}: {person} takes notes, {person2} leads | person: Who takes notes in {session}?; Whose notes are there of {session}? > {person} takes notes in {session}.; The notes of {session} are by {person}. | person2: Who leads {session}?; Under whom is {session}? > {person2} leads {session}.; {session} is led by {person2}.
    plan B for {event}: {decision} | decision: What is plan B for {event}?; What do we do if {event} goes wrong? > Plan B for {event} is to {decision}.; If it goes wrong, we {decision}.
    {task} is {status}, waiting for {person} | status: How does {task} stand?; What is the state of {task}? > {task} is {status}.; The state of {task} is {status}. | person: For whom does {task} wait?; Who holds up {task}? > {task} waits for {person}.; {person} holds up {task}.
    lesson from {task}: avoid {action} | action: What should be avoided after {task}?; What lesson did {task} teach? > The lesson of {task} is to avoid {action}.; After {task} we avoid {action}.
    {person} speaks on {words} in {city} | words: On what does {person} speak?; What is the subject of {person}'s talk? > {person} speaks on {words}.; The talk of {person} is on {words}. | city: In which town does {person} speak?; Where is the talk of {person}? > {person} speaks in {city}.; The talk is in {city}.
    reading {invented} by {person} | invented: What am I reading by {person}?; Which book of {person} do I read? > You are reading {invented} by {person}.; It is {invented}. | person: By whom is {invented}, which I am reading?; Who is the author of my book {invented}? > {invented} is by {person}.; The author is {person}.
    my old number was {phone}, the new one is {phone2} | phone2: What is my new number?; On which number can I be reached by now? > Your new number is {phone2}.; You can be reached on {phone2}. | phone: What was my old number?; Which number do I no longer use? > Your old number was {phone}.; You no longer use {phone}.
    I weigh {decimal} kilos as of {date} | decimal: How much do I weigh?; What is my weight? > You weigh {decimal} kilos.; Your weight is {decimal} kilos. | date: Of which date is my weight?; When did I last weigh myself? > Your weight is of {date}.; You weighed yourself on {date}.
    dentist on {date} with {person}, bring {code} | date: When am I at the dentist?; On which date is the dentist? > The dentist is on {date}.; You see the dentist on {date}. | person: With whom is my dental appointment?; Which dentist do I see? > Your appointment is with {person}.; You see {person}. | code: What should I bring to the dentist?; Which form does the dentist want? > Bring {code} to the dentist.; The dentist wants {code}.
    {first} takes {medicine} at {time} | medicine: Which medicine does {first} take?; What is {first}'s medicine called? > {first} takes {medicine}.; The medicine of {first} is {medicine}. | time: At what time does {first} take medicine?; When is {medicine} due for {first}? > {first} takes it at {time}.; It is due at {time} for {first}.
    gym card {digits}, locker room {room} | digits: What is the number of my gym card?; Which gym card is mine? > Your gym card is {digits}.; The number of the gym card is {digits}. | room: Which locker room do I use at the gym?; Where do I change at the gym? > You use locker room {room}.; At the gym you change in {room}.
    seen at {city} market: {product} for {price} | product: What did I see at {city} market?; Which article was on the market in {city}? > You saw {product} at {city} market.; On the market in {city} there was {product}. | price: What did {product} cost at {city} market?; For how much was {product} on sale in {city}? > {product} was {price} at {city} market.; It was on sale for {price}.
    the {colour} button starts it, the {colour2} one stops it | colour: Which button starts it?; What is the colour of the start button? > The {colour} button starts it.; To start it press {colour}. | colour2: Which button stops it?; What is the colour of the stop button? > The {colour2} button stops it.; To stop it press {colour2}.
    file your receipts under {path} until {date} | path: Under which path do I file my receipts?; Where do the receipts go? > File your receipts under {path}.; The receipts go to {path}. | date: Until when can I file receipts?; What is the last date for receipts? > You can file receipts until {date}.; The last date for receipts is {date}.
    """
PATTERNS = _shares([_pattern(line) for line in _lines(_PATTERNS)])

_NAMED_STATEMENTS = """
    {n}'s {a} is {v}
    the {a} of {n} is {v}
    for {n} the {a} is {v}
    {n} has {v} as {a}
    the {a} that goes with {n} is {v}
    {v} is {n}'s {a}
    with {n}, the {a} is {v}
    the {a} for {n} is {v}
    {n}, as to the {a}, has {v}
    """
NAMED = Frame(
    notes=_said(
        """
        note to self: {n}'s {a} is {v}
        {n} - {a} is {v}
        remember: {a} of {n} = {v}
        fyi {n}'s {a} changed to {v}
        update: {n}'s {a} is now {v}
        heads up, {v} is the {a} of {n}
        I was told that {n}'s {a} is {v}
        just checked, {a} for {n}: {v}
        about {n}: {a} is {v}
        confirmed: {n}'s {a} is {v}
        please keep {v} as {n}'s {a}
        we wrote down {v} as the {a} of {n}
        {n} (re {a}): it is {v}
        correction: {n}'s {a} should be {v}
        if anyone asks, {n}'s {a} is {v}
        looked it up - the {a} of {n} is {v}
        saved {v} as {a} for {n}
        so {n}'s {a} turns out to be {v}
        don't forget, {n}'s {a} is {v}
        stored fact: {a} of {n} is {v}
        under {a}, {n} is listed with {v}
        got {n}'s {a} at last: {v}
        {v} is what we have for {n}'s {a}
        as of today {n}'s {a} is {v}
        {n}: {a} {v}, says the form
        """,
        _NAMED_STATEMENTS,
    ),
    answers=_said(_NAMED_STATEMENTS),
    questions=_said(
        """
        What is {n}'s {a}?
        What is the {a} of {n}?
        Which {a} does {n} have?
        Tell me {n}'s {a}.
        {n}: which {a}?
        Can you give me the {a} for {n}?
        I need {n}'s {a}.
        Do you remember the {a} of {n}?
        What did I note as {n}'s {a}?
        Remind me of the {a} of {n}.
        What is stored as {a} of {n}?
        How was {n}'s {a} again?
        Please look up {n}'s {a}.
        What was the {a} for {n}?
        The {a} of {n}, please?
        """
    ),
)
MINE = Frame(
    notes=_said(
        """
        my {a} is {v}
        by the way, my {a} is {v}
        I have {v} as {a}
        keep in mind that my {a} is {v}
        my {a} is now {v}
        my {a}, since you ask: {v}
        I changed my {a} to {v}
        for the record, my {a} is {v}
        can you save my {a}? {v}
        {v} - that is my {a}
        I never remember my {a}: {v}
        about me: {a} is {v}
        as {a} I have {v}
        sorry, my {a} is actually {v}
        they gave me {v} as {a}
        """
    ),
    answers=_said(
        """
        your {a} is {v}
        you have {v} as {a}
        {v} is your {a}
        you told me that your {a} is {v}
        as {a} you have {v}
        I noted {v} as your {a}
        you gave {v} as your {a}
        """
    ),
    questions=_said(
        """
        What is my {a}?
        Which {a} do I have?
        Tell me my {a}.
        Can you remind me of my {a}?
        What did I say my {a} is?
        I forgot my {a}, what is it?
        How was my {a} again?
        Do you still know my {a}?
        What did I give as my {a}?
        Which {a} is mine?
        """
    ),
)
_USER_STATEMENTS = """
    the user's {a} is {v}
    the user has {v} as {a}
    {v} is the user's {a}
    the {a} of the user is {v}
    for the user, the {a} is {v}
    as {a} the user has {v}
    the user gave {v} as {a}
    """
USER = Frame(
    notes=_said(
        """
        memory: user {a} = {v}
        user says the {a} is {v}
        user confirmed {v} as {a}
        learned today: the user's {a} is {v}
        the user corrected the {a} to {v}
        profile of the user: {a} {v}
        user mentioned {v} as own {a}
        set {a} of the user to {v}
        new {a} of the user: {v}
        user stated: my {a} is {v}
        """,
        _USER_STATEMENTS,
    ),
    answers=_said(_USER_STATEMENTS),
    questions=_said(
        """
        What is the user's {a}?
        What is the {a} of the user?
        Which {a} does the user have?
        What {a} did the user give?
        Look up the user's {a}.
        What did the user say about the {a}?
        Which {a} is the user's?
        What do we know of the user's {a}?
        What is noted as the user's {a}?
        """
    ),
)
CONTINUED = _said(
    """
    the {a} is {v}
    also {a}: {v}
    and {a} {v}
    plus the {a}, {v}
    besides, the {a} is {v}
    then the {a}: {v}
    {a} = {v}
    also noted: {a} {v}
    with {v} as {a}
    {v} is the {a}
    the {a}? {v}
    same source: {a} is {v}
    """
)
"""Further facts of the one whom the sentence before is about."""

# Whom or what notes are about: what it is called by | labels and kinds of values.
_SUBJECTS = """
    person, person, first, invented | badge number:digits, locker:code, desk:room, phone number:phone, e-mail address:email, extension:digits, birthday:date, bike lock code:pin, parking spot:room, home address:address, number plate:plate, favourite drink:drink, favourite food:food, hobby:hobby, job:job, pet:animal, instrument:instrument, lucky word:word, flight:flight, seat:seatnumber, doctor:person, landlord:person, sister:first, brother:first, home town:city, employer:company, start date:date, hourly rate:price, nickname:made, student number:digits, user name:made, laptop:product, coach:first, bus line:small, favourite colour:colour, membership number:code, bank:company, alarm time:time, next appointment:date, locker combination:pin, email password:code, insurance number:code, bedtime:time, street:street, mother's maiden name:last, spirit animal:animal, running time:duration, favourite spice:spice, project:invented, pen name:invented, personal best:decimal
    service, service, host | port:port, host:host, version:version, branch:branch, owner:person, deploy day:day, log path:path, config file:path, timeout:duration, token:hex, commit:hex, replica count:small, maintainer:first, ticket:code, backup time:time, memory limit:size, on-call number:phone, queue name:word, release date:date, admin password:code, random seed:digits, learning rate:decimal, batch size:digits, threshold:decimal, build number:digits, address:ip, support address:email, vendor:company, monthly cost:price, codename:made, checksum:hex
    site | door code:pin, opening time:time, closing time:time, closing day:day, address:address, phone number:phone, wifi password:code, wifi name:made, manager:person, floor:small, landlord:person, alarm code:pin, rent:price, key box code:pin, meeting room:room, caretaker:first, town:city, wall colour:colour, room count:small, owner:company, contact:email, guest name:invented
    event, session | date:date, start time:time, room:room, host:person, dial-in code:pin, budget:price, ticket price:price, colour:colour, topic:words, guest count:digits, town:city, note taker:first, caterer:company, deadline:date, motto:words, main speaker:person, duration:duration, menu:food, contact number:phone, booking code:code
    belonging | price:price, serial number:code, owner:person, storage place:spot, maker:company, warranty end:date, model:product, material:material, purchase date:date, shelf:room, lender:first, size:decimal, inventory number:digits, insurance value:price, nickname:made
    """
SUBJECTS = tuple(_subject(line) for line in _lines(_SUBJECTS))
PEOPLE = SUBJECTS[0]
"""Users have the same attributes."""

LIST_FORMATS = _shares(
    [
        ListFormat("{k}: {v}"),
        ListFormat("{k}: {v}", "; "),
        ListFormat("{k}={v}", "; ", joint="_"),
        ListFormat("{k} = {v}", joint="_"),
        ListFormat("- {k}: {v}"),
        ListFormat("* {k} - {v}"),
        ListFormat("• {k}: {v}"),
        ListFormat('"{k}": "{v}"', ", ", "{", "}", "_"),
        ListFormat('  "{k}": "{v}"', ",\n", "{\n", "\n}", "_"),
        ListFormat("{k} -> {v}"),
        ListFormat("[{k}] {v}", joint="-"),
        ListFormat("{k} | {v}"),
        ListFormat("<{k}>{v}</{k}>", joint="-"),
        ListFormat("--{k} {v}", " ", joint="-"),
        ListFormat("({k}, {v})", " "),
        ListFormat("{k}\t{v}", joint="_"),
        ListFormat("export {k}='{v}'", joint="_"),
        ListFormat("{k} is {v}", " / "),
        ListFormat("+ {k} ... {v}"),
        ListFormat("| {k} | {v} |"),
    ]
)
LIST_QUESTIONS = _said(
    """
    What is the {k}?
    What does it say for {k}?
    Which value does {k} have?
    {k}?
    Give me the {k}.
    What is {k} set to?
    What is listed under {k}?
    Value of {k}?
    Read out the {k}.
    What stands beside {k}?
    And the {k}?
    Which {k} is noted?
    Tell me what {k} is.
    What did the list have as {k}?
    """
)
LIST_ANSWERS = _said(
    """
    The {k} is {v}.
    {k}: {v}.
    It says {v} for {k}.
    {k} is {v}.
    {k} is set to {v}.
    {v} is the {k}.
    Under {k} stands {v}.
    The value of {k} is {v}.
    As {k} it has {v}.
    """
)
