"""What can be asked: real countries by name or by flag, private notes, made-up items of the test split, benchmarks, and
what an agent does next."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

from comem_memory.config import TrajectoryFormat
from comem_memory.errors import BenchmarkError
from comem_memory.evaluation import benchmarks
from comem_memory.evaluation.benchmarks import BENCHMARKS, BenchmarkQuestion, Predictions
from comem_memory.evaluation.benchmarks.multimodal_mind2web import trajectories
from comem_memory.evaluation.comparison import EvaluationQuestion, QuestionSet
from comem_memory.evaluation.next_actions import next_actions, own, similar
from comem_memory.files import read_trajectories
from comem_memory.synthesis import countries, languages
from comem_memory.synthesis.corpus import read_corpus
from comem_memory.types import MemoryItem

NOTES = ("notes", "notes-development")
"""Sets of private notes, to report and to choose with; see `of_notes`."""
_NOTES_FOLDER = Path(__file__).parent.parent / "data" / "notes"
LANGUAGES = languages.LANGUAGES[1:]
"""Besides English."""
MADE_UP = ("worlds", "agents", "numbers", "names", "yes-no", "which", "not-in-memory", "scenes", *LANGUAGES)
"""Sets of made-up items; see `of_worlds`."""
NEXT_ACTIONS = {"next-actions": own, "similar-actions": similar}
"""Sets about the steps of trajectories, with the one that is asked about in memory, or a similar one alone."""


def question_set(
    name: str,
    *,
    num_facts: int | None = None,
    searched: bool = False,
    folder: Path | None = None,
    split: str | None = None,
    format: TrajectoryFormat | None = None,
    limit: int | None = None,
) -> QuestionSet:
    """A question set by its name: countries, flags, one of `NOTES`, `MADE_UP` or `NEXT_ACTIONS`, corpus, or a
    benchmark's.

    Args:
        name: Which.
        num_facts: Facts of an item about a country, see `of_countries`; for `countries` alone.
        searched: Items are all that there are, to be searched among; else, of a benchmark and of notes, only those
            that hold the answers.
        folder: Where the files of a corpus, of trajectories or of a benchmark are.
        split: Which part of a corpus or benchmark; of a corpus `test` unless given. Trajectories with a split are
            Multimodal-Mind2Web's.
        format: Whose files trajectories without a split are; those of CoMEM's authors' agents unless given.
        limit: So many questions; 300 of the endless made-up ones unless given.

    Raises:
        BenchmarkError: There is no such set, a benchmark comes without folder or split, a format beside a split, or as
            in `of_benchmark` and `next_actions`.
        CorpusError: As in `of_corpus`.
        InvalidItemError: As in `read_trajectories`.
    """
    if num_facts is not None and name != "countries":
        raise BenchmarkError(f"Only notes of countries have a number of facts. Leave it out for {name}.")
    if name == "countries":
        return of_countries(num_facts=num_facts, searched=searched, limit=limit)
    if name == "flags":
        return of_flags(limit=limit)
    if name in NOTES:
        return of_notes(name, searched=searched, limit=limit)
    if name in MADE_UP:
        return of_worlds(name, limit=limit or 300)
    if name == "corpus":
        if folder is None:
            raise BenchmarkError("Pass the folder of the corpus, which `comem synthesize` made.")
        return of_corpus(folder, split or "test", searched=searched, limit=limit)
    if name in NEXT_ACTIONS:
        if folder is None:
            raise BenchmarkError("Pass the folder of the trajectories.")
        if format is not None and split is not None:
            raise BenchmarkError("A split is of Multimodal-Mind2Web, a format of other files. Pass one of the two.")
        given = read_trajectories([folder], format or "comem-agent") if split is None else trajectories(folder, split)
        return next_actions(name, NEXT_ACTIONS[name](given), searched=searched, limit=limit)
    if name not in BENCHMARKS:
        known = ", ".join(("countries", "flags", *NOTES, *MADE_UP, "corpus", *NEXT_ACTIONS, *BENCHMARKS))
        raise BenchmarkError(f"There are no questions {name!r}. There are: {known}.")
    if folder is None or split is None:
        raise BenchmarkError(f"Pass folder and split of {name}: nothing is downloaded.")
    return of_benchmark(name, folder, split, searched=searched, limit=limit)


def of_countries(*, num_facts: int | None = None, searched: bool = False, limit: int | None = None) -> QuestionSet:
    """Questions that name their country.

    Args:
        num_facts: Items are notes of so many facts (`countries.short_item`); by default whole countries with flags.
        searched: The notes of all questions are items, to be searched among; else those of the selected questions.
        limit: A random selection of so many questions, always the same.
    """
    drawn = _drawn(limit)
    if num_facts is None:
        items = [countries.item(row) for row in countries.rows()]
        asked = [_asked(question, question.code) for question, _ in drawn]
        return QuestionSet("countries", items, asked)
    items = [countries.short_item(row, question.kind, num_facts) for question, row in (_drawn() if searched else drawn)]
    asked = [_asked(question, str(item.id)) for (question, _), item in zip(drawn, items, strict=False)]
    name = f"countries, {num_facts} fact{'s' * (num_facts > 1)}"
    return QuestionSet(f"{name}, all notes" if searched else name, items, asked)


def of_flags(*, limit: int | None = None) -> QuestionSet:
    """The same questions without the country's name, asked with another artist's waving flag."""
    items = [countries.item(row) for row in countries.rows()]
    asked = [
        replace(
            _asked(question, question.code),
            text=question.text.replace(row["name"], "the country with this flag"),
            image=countries.FOLDER / row["flag_waving"],
        )
        for question, row in _drawn(limit)
    ]
    return QuestionSet("flags", items, asked)


def of_notes(name: str = "notes", *, searched: bool = False, limit: int | None = None) -> QuestionSet:
    """Private facts as people and agents write them down, with one question to each; none can be known or guessed.

    Kinds: name, place, date or time, number, code, preference, decision, correction, location (of a thing), plan.

    Args:
        name: `notes` has 100, to report. `notes-development` has 60 others, to choose between recipes.
        searched: All notes are items, to be searched among; else those of the selected questions.
        limit: A random selection of so many questions, always the same.
    """
    with (_NOTES_FOLDER / f"{name}.jsonl").open(encoding="utf-8") as lines:
        notes = [json.loads(line) for line in lines]
    random.Random(0).shuffle(notes)
    drawn = notes[:limit]
    items = [MemoryItem(id=note["id"], text=note["text"]) for note in (notes if searched else drawn)]
    asked = []
    for note in drawn:
        answers, wrong = tuple(note["answers"]), tuple(note.get("wrong", ()))
        asked.append(EvaluationQuestion(note["question"], answers, note["kind"], (note["id"],), wrong=wrong))
    return QuestionSet(f"{name}, all notes" if searched else name, items, asked)


def of_worlds(name: str = "worlds", *, limit: int = 300) -> QuestionSet:
    """Made-up items of the test split (`synthesis.splits`), with one question to each.

    | name | items and questions | kinds |
    |---|---|---|
    | worlds | people, places, organisations, products, animals, events, works, recipes | numbers, names, words |
    | agents | what agents have to remember: preferences, family, health, plans, meetings, attempts | the topic |
    | numbers, names | of all these, those whose answer has digits, or is a name | the value's kind |
    | yes-no | is it true that ...? | yes, no |
    | which | which of three items has this value? | the topic |
    | not-in-memory | what the item does not say | the topic |
    | scenes | a picture of two shapes, and whose it is | shape (with colour), form |
    | spanish, french, ... | items in this language | the language of the question: this one, or English |

    Raises:
        ImportError: Faker is not installed; it belongs to the extra `train`.
    """
    from comem_memory.synthesis.groups import GroupItem, Mixture, Task, group

    def kind(item: GroupItem, task: Task) -> str | None:
        """The kind of the question, `None` where it does not belong to this set."""
        value = _kind(task.right[0])
        match name:
            case "worlds":
                return value if task.kind == "fact" else None
            case "agents":
                return item.topic if task.kind == "fact" else None
            case "numbers" | "names":
                return task.value_kind if task.kind == "fact" and value == name else None
            case "yes-no":
                return task.right[0].lower() if task.kind == "yes or no" else None
            case "which" | "not-in-memory":
                return item.topic if task.kind == name.replace("-", " ") else None
            case "scenes":
                return ("shape" if " " in task.right[0] else "form") if task.kind == "text and picture" else None
            case language:
                return task.language if item.language == language and task.kind == "fact" else None

    agents = {"worlds": 0.0, "agents": 1.0}.get(name, 0.4)
    translated, pictured = float(name in LANGUAGES), float(name == "scenes")
    languages = ("english", name) if translated else ("english",)
    mixture = Mixture(agents=agents, translated=translated, languages=languages, pictured=pictured, without_text=0.0)
    items, asked = dict[str, MemoryItem](), list[EvaluationQuestion]()
    for drawn in (group(0, "test", number, mixture) for number in itertools.count()):
        first = len(asked)
        for position, item in enumerate(drawn.items):
            known = ((task, kind(item, task)) for task in drawn.tasks if task.about == position)
            task, found = next(((task, found) for task, found in known if found is not None), (None, ""))
            if task is None:
                continue
            seen = [position - 2, position - 1, position] if task.kind == "which" else [position]
            ids = tuple(f"{name}-{first}-{place % len(drawn.items)}" for place in seen)
            for id, other in zip(ids, (drawn.items[place] for place in seen), strict=True):
                items[id] = MemoryItem(id=id, text=other.text, image=other.picture())
            asked.append(EvaluationQuestion(task.question, task.right, found, ids, wrong=task.wrong))
            if len(asked) == limit:
                return QuestionSet("unseen worlds" if name == "worlds" else name, list(items.values()), asked)
    raise AssertionError("numbers never end")


def of_corpus(folder: Path, split: str = "test", *, searched: bool = False, limit: int | None = None) -> QuestionSet:
    """The questions of a corpus of `comem synthesize` that are about one of its items, or several.

    Unless `searched`, items are those that the questions are about.

    Raises:
        CorpusError: The folder is no corpus, or has no such split.
    """
    items, asked = dict[str, MemoryItem](), list[EvaluationQuestion]()
    for sample in read_corpus(folder, split):
        ids = tuple(sample.items[place].id for place in sample.gold)
        wanted = bool(ids) and len(asked) != limit
        if wanted:
            asked.append(EvaluationQuestion(sample.question, tuple(sample.right), sample.kind, ids))
        for item in sample.items:
            if searched or (wanted and item.id in ids):
                image = None if item.image is None else folder / item.image
                items[item.id] = MemoryItem(id=item.id, text=item.text or None, image=image, content=item.parts(folder))
    return QuestionSet(f"{folder.name}, {split}", list(items.values()), asked)


def of_benchmark(
    name: str, folder: Path, split: str, *, searched: bool = False, limit: int | None = None
) -> QuestionSet:
    """The questions of a published benchmark that have an answer; options stand below their question.

    Kinds are the question's language, category or part of the split, whichever the benchmark has. Unless `searched`,
    items are those that hold the answers.

    Raises:
        ImportError: The benchmark comes as parquet files, and pyarrow is not installed.
        BenchmarkError: There is no such benchmark, it publishes no items, or a file is missing or malformed.
    """
    answered = (one for one in benchmarks.load(name, folder, split) if one.answers or one.correct_option is not None)
    questions = list(itertools.islice(answered, limit))

    def score(predictions: Predictions) -> dict[str, float]:
        return BENCHMARKS[name].score(questions, predictions)

    benchmark = BENCHMARKS[name]
    asked = [_of_benchmark(one, benchmark.option) for one in questions]
    items = benchmarks.items(name, folder, split)
    if not searched:
        needed = {id for one in asked for id in one.item_ids}
        items = (item for item in items if item.id in needed)
    return QuestionSet(name, items, asked, score if benchmark.scores_text else None)


def _of_benchmark(question: BenchmarkQuestion, option: str) -> EvaluationQuestion:
    options = [
        option.format(letter=chr(ord("A") + place), number=place + 1, text=text)
        for place, text in enumerate(question.options)
    ]
    right = () if question.correct_option is None else (question.options[question.correct_option],)
    return EvaluationQuestion(
        "\n".join([question.text, *options]),
        question.answers or right,
        question.language or question.category or question.split or "all",
        question.item_ids,
        question.image,
        dict(question.where) or None,
        question.id,
    )


def _drawn(limit: int | None = None) -> list[tuple[countries.CountryQuestion, countries.Row]]:
    drawn = [(question, row) for row in countries.rows() for question in countries.questions(row)]
    random.Random(0).shuffle(drawn)
    return drawn[:limit]


def _asked(question: countries.CountryQuestion, item_id: str) -> EvaluationQuestion:
    return EvaluationQuestion(question.text, (question.answer, *question.also), question.kind, (item_id,))


def _kind(value: str) -> str:
    if any(letter.isdigit() for letter in value):
        return "numbers"
    return "names" if any(letter.isupper() for letter in value) else "words"
