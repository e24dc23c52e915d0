"""Benchmarks' published files and scoring rules: small files of each format, and scores worked out by hand."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from comem_memory.errors import BenchmarkError
from comem_memory.evaluation.benchmarks import (
    BENCHMARKS,
    BenchmarkQuestion,
    a_okvqa,
    cvqa,
    infoseek,
    load,
    locomo,
    mrag_bench,
    oven,
    squad,
)
from comem_memory.evaluation.benchmarks.answers import squad_exact_match, squad_f1, squad_normalise
from comem_memory.evaluation.benchmarks.ok_vqa import vqa_accuracy, vqa_normalise
from comem_memory.evaluation.question_sets import _of_benchmark, of_benchmark


def write_lines(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_file(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def write_table(folder: Path, rows: list[dict[str, Any]]) -> None:
    from pyarrow import Table
    from pyarrow.parquet import write_table

    (folder / "data").mkdir()
    for number, row in enumerate(rows):  # a file for each row, so that files follow each other
        write_table(Table.from_pylist([row]), folder / "data" / f"test-{number:05}-of-{len(rows):05}.parquet")


def draw(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a picture")
    return path


def items(name: str, folder: Path, split: str) -> list[Any]:
    reader = BENCHMARKS[name].items
    assert reader is not None
    return list(reader(folder, split))


# -- InfoSeek ----------------------------------------------------------------------------------------------------


@pytest.fixture
def infoseek_folder(tmp_path: Path) -> Path:
    heights = {"data_id": "q2", "image_id": "oven_05000002", "question": "How high?", "answer": ["4"]}
    rows: list[dict[str, Any]] = [
        {
            "data_id": "q1",
            "image_id": "oven_04000001",
            "question": "Which country?",
            "answer": ["United States of America"],
            "answer_eval": ["United States of America", "the US"],
            "data_split": "val_unseen_question",
        },
        heights | {"answer_eval": [{"wikidata": 4.0, "range": [3.6, 4.4]}], "data_split": "val_unseen_entity"},
        heights | {"data_id": "q3", "answer_eval": ["1866", "1865", "1867"], "data_split": "val_unseen_entity"},
    ]
    write_lines(tmp_path / "infoseek_val.jsonl", *rows)
    write_lines(
        tmp_path / "infoseek_val_spanish.jsonl", rows[0] | {"question": "¿Qué país?", "answer_eval": ["EE. UU."]}
    )
    kinds = (("q1", "String"), ("q2", "Numerical"), ("q3", "Time"))
    write_lines(tmp_path / "infoseek_val_qtype.jsonl", *({"data_id": i, "question_type": kind} for i, kind in kinds))
    write_lines(tmp_path / "infoseek_val_withkb.jsonl", {"data_id": "q1", "entity_id": "Q30", "entity_text": "US"})
    draw(tmp_path / "oven_images" / "04" / "oven_04000001.jpg")
    draw(tmp_path / "oven_images" / "05" / "oven_05000002.JPEG")
    return tmp_path


def test_infoseek(infoseek_folder: Path):
    first, second, third = load("infoseek", infoseek_folder, "val")
    assert first == BenchmarkQuestion(
        id="q1",
        text="Which country?",
        image=infoseek_folder / "oven_images" / "04" / "oven_04000001.jpg",
        answers=("United States of America", "the US"),
        item_ids=("Q30",),
        split="val_unseen_question",
        language="english",
        category="string",
    )
    assert second.accepted_range == (3.6, 4.4) and second.answers == ("4",) and second.category == "numerical"
    assert second.image == infoseek_folder / "oven_images" / "05" / "oven_05000002.JPEG"
    scores = infoseek.score([first, second, third], {"q1": "The U.S.", "q2": "4.2 metres", "q3": "In 1866"})
    assert scores == {
        "unseen_question": 1.0,
        "unseen_entity": 0.5,
        "score": pytest.approx(2 / 3),
        "unseen_question string": 1.0,
        "unseen_entity numerical": 1.0,
        "unseen_entity time": 0.0,
    }
    assert "score" not in infoseek.score([first], {"q1": ""})


def test_infoseek_in_another_language(infoseek_folder: Path):
    [question] = load("multilingual-infoseek", str(infoseek_folder), "val_spanish")
    assert (question.text, question.language, question.category) == ("¿Qué país?", "spanish", "string")
    assert question.item_ids == ("Q30",)
    assert infoseek.score([question], {"q1": "EE UU"})["unseen_question"] == 1


@pytest.mark.parametrize(
    ("prediction", "right"),
    [
        ("4.4", True),
        ("4.5", False),
        ("about 3.7-4.0 m", True),  # inside the accepted range
        ("3.6 to 5", True),  # 0.8 of 1.4 shared
        ("3-5", False),  # 0.8 of 2 shared
        ("4, not 100", False),  # read as a range
        ("4.0, not 3", True),  # does not ascend, so the first number counts
        ("5, not 4", False),
        ("4,000", False),
        ("four", False),
    ],
)
def test_infoseek_numbers(prediction: str, right: bool):
    question = BenchmarkQuestion(id="q", text="?", accepted_range=(3.6, 4.4))
    assert infoseek.score([question], {"q": prediction})["unseen_entity"] == right


def test_no_number_is_zero_as_published():
    question = BenchmarkQuestion(id="q", text="?", accepted_range=(-1.0, 1.0))
    assert infoseek.score([question], {"q": "none"})["unseen_entity"] == 1


def test_wikipedia(tmp_path: Path):
    article = {"wikidata_id": "Q806563", "wikipedia_title": "Bank", "wikipedia_summary": "A bank.", "other": None}
    with gzip.open(tmp_path / "Wiki6M_ver_1_0.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.write(json.dumps(article) + "\n" + json.dumps(article | {"wikidata_id": "Q1", "wikipedia_summary": None}))
    picture = draw(tmp_path / "wikipedia_images_full" / "Q806" / "Q806563.jpg")
    first, second = items("oven", tmp_path, "val")
    assert (first.id, first.text, first.image, first.metadata) == (
        "Q806563",
        "Bank\nA bank.",
        picture,
        {"title": "Bank"},
    )
    assert (second.id, second.text, second.image) == ("Q1", "Bank", None)
    write_lines(tmp_path / "Wiki6M_ver_1_0.jsonl", article)
    assert [item.id for item in items("infoseek", tmp_path, "val")] == ["Q806563"]


# -- OVEN --------------------------------------------------------------------------------------------------------


def test_numbers_are_asked_and_only_items_that_hold_answers_are_taken(infoseek_folder: Path):
    articles = [{"wikidata_id": f"Q{number}", "wikipedia_title": "One"} for number in (1, 30, 31)]
    write_lines(infoseek_folder / "Wiki6M_ver_1_0.jsonl", *articles)
    own, searched = (of_benchmark("infoseek", infoseek_folder, "val", searched=searched) for searched in (False, True))
    assert [one.id for one in own.asked] == [one.id for one in searched.asked] == ["q1", "q2", "q3"]
    assert [item.id for item in own.items] == ["Q30"]
    assert [item.id for item in searched.items] == ["Q1", "Q30", "Q31"]
    assert own.published_score is not None
    assert own.published_score({"q1": "the US", "q2": "4.2", "q3": "1866"})["score"] == 1


def test_options_are_shown_as_the_rule_reads_them():
    question = BenchmarkQuestion("q", "What is it?", options=("cat", "dog"), correct_option=1)
    for name, line, module in (("mrag-bench", "(B) dog", mrag_bench), ("cvqa", "2. dog", cvqa)):
        assert _of_benchmark(question, BENCHMARKS[name].option).text.splitlines()[-1] == line
        assert module.chosen_option(line.removesuffix(". dog")) == 1


def test_oven(tmp_path: Path):
    row = {"image_id": "oven_04925739", "question": "what bird?", "entity_id": "Q755737", "entity_text": "Killdeer"}
    for part in ("query", "entity"):
        rows = [
            row | {"data_id": f"{part}{number}", "data_split": f"{part}_val_{kind}"}
            for number, kind in enumerate(("seen", "seen", "unseen"))
        ]
        write_lines(tmp_path / f"oven_{part}_val.jsonl", *rows)
    picture = draw(tmp_path / "oven_images" / "04" / "oven_04925739.jpg")
    asked = list(load("oven", tmp_path, "val"))
    assert [question.id for question in asked] == ["entity0", "entity1", "entity2", "query0", "query1", "query2"]
    assert (asked[0].answers, asked[0].item_ids, asked[0].image) == (("Killdeer",), ("Q755737",), picture)
    said = {question.id: "Q755737" for question in asked} | {"query0": "Q1", "entity0": "Q1", "entity1": "Q1"}
    scores = oven.score(asked, said)
    assert scores["query_val_seen"] == 0.5 and scores["query_val_unseen"] == 1
    assert scores["query"] == pytest.approx(2 / 3)
    assert scores["entity"] == scores["score"] == 0  # nothing seen was right
    assert oven.score(asked, said | {"entity0": "Q755737"})["score"] == pytest.approx(2 / 3)
    assert "score" not in oven.score(asked[:3], said)
    write_lines(tmp_path / "Wiki6M_ver_1_0.jsonl", {"wikidata_id": "Q755737", "wikipedia_title": "Killdeer"})
    assert of_benchmark("oven", tmp_path, "val").published_score is None  # it scores ids, not what a model says


# -- multiple choice in tables -----------------------------------------------------------------------------------

MRAG_ROW = {
    "id": "1",
    "aspect": "perspective",
    "scenario": "Angle",
    "image": {"bytes": b"asked", "path": None},
    "gt_images": [{"bytes": b"gold", "path": None}, {"bytes": b"more gold", "path": None}],
    "question": "Which car?",
    "A": "Audi",
    "B": "BMW",
    "C": "Citroen",
    "D": "Dacia",
    "answer_choice": "B",
    "answer": "BMW",
    "retrieved_images": [{"bytes": b"found", "path": None}],
}


def test_mrag_bench(tmp_path: Path):
    write_table(tmp_path, [MRAG_ROW, MRAG_ROW | {"id": "2", "scenario": "Incomplete", "answer_choice": "D"}])
    first, second = load("mrag-bench", tmp_path, "test")
    assert (first.image, first.options, first.correct_option) == (b"asked", ("Audi", "BMW", "Citroen", "Dacia"), 1)
    assert first.item_ids == ("1/0", "1/1") and second.item_ids == ("2/0",)
    shown = [(item.id, item.image, item.text) for item in items("mrag-bench", tmp_path, "test")]
    assert shown == [("1/0", b"gold", None), ("1/1", b"more gold", None), ("2/0", b"gold", None)]
    assert mrag_bench.score([first, second], {"1": "(B) BMW", "2": "A"}) == {
        "score": 0.5,
        "Angle": 1.0,
        "Incomplete": 0.0,
    }


@pytest.mark.parametrize(
    ("prediction", "option"),
    [
        ("B.", 1),
        ("(C) Citroen", 2),
        ("A or D", 3),
        ("The answer is (B), and not A", 1),
        ("(B), no: (A)", 0),
        ("BMW", None),
        ("", None),
    ],
)
def test_letters(prediction: str, option: int | None):
    assert mrag_bench.chosen_option(prediction) == option


CVQA_ROW = {
    "ID": "5919991144272485961_0",
    "Subset": "('Spanish', 'Spain')",
    "Question": "¿Qué es?",
    "Translated Question": "What is it?",
    "Options": ["pan", "vino"],
    "Label": 1,
    "Category": "Cooking and food",
    "image": {"bytes": b"asked", "path": "1.jpg"},
}


def test_cvqa(tmp_path: Path):
    write_table(tmp_path, [CVQA_ROW, CVQA_ROW | {"ID": "2", "Subset": "('Bulgarian', 'Bulgaria')"}])
    first, second = load("cvqa", tmp_path, "test")
    assert first == BenchmarkQuestion(
        id="5919991144272485961_0",
        text="¿Qué es?",
        image=b"asked",
        answers=("vino",),
        options=("pan", "vino"),
        correct_option=1,
        split="test",
        language="('Spanish', 'Spain')",
        category="Cooking and food",
    )
    assert first.image == b"asked"
    assert cvqa.score([first, second], {first.id: r"Final answer: \boxed{2}", "2": "1"}) == {
        "score": 0.5,
        "('Spanish', 'Spain')": 1.0,
        "('Bulgarian', 'Bulgaria')": 0.0,
    }


def test_a_row_that_is_malformed_is_named(tmp_path: Path):
    write_table(tmp_path, [CVQA_ROW, CVQA_ROW | {"Label": 2}])
    with pytest.raises(BenchmarkError, match=r"test-00001-of-00002.parquet, row 1.*Label 2 is none of the 2 options"):
        load("cvqa", tmp_path, "test")


def test_a_column_that_is_missing_and_a_file_that_is_no_table(tmp_path: Path):
    write_table(tmp_path, [{key: value for key, value in CVQA_ROW.items() if key != "Label"}])
    with pytest.raises(BenchmarkError, match="row 1, Label: Field required"):
        load("cvqa", tmp_path, "test")
    (tmp_path / "data" / "test-00000-of-00001.parquet").write_bytes(b"not a table")
    with pytest.raises(BenchmarkError, match=r"cannot be read after row 0.*CVQA's folder should hold"):
        load("cvqa", tmp_path, "test")


@pytest.mark.parametrize("name", ["mrag-bench", "cvqa"])
def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    draw(tmp_path / "data" / "test-00000-of-00001.parquet")
    with pytest.raises(ImportError, match="pip install pyarrow"):
        load(name, tmp_path, "test")


@pytest.mark.parametrize(
    ("prediction", "option"),
    [("2", 1), (r"\boxed{ 1 }", 0), ("Respuesta: 3", 2), ("1: \\boxed{2}", 1), ("vino", None), ("0", None), ("", None)],
)
def test_numbers_of_options(prediction: str, option: int | None):
    assert cvqa.chosen_option(prediction) == option


# -- COCO --------------------------------------------------------------------------------------------------------


def test_ok_vqa(tmp_path: Path):
    asked = {"question_id": 2971475, "image_id": 297147, "question": "What sport?"}
    answers = [
        {"answer_id": n, "answer": "race" if n < 4 else "motocross", "raw_answer": "racing"} for n in range(1, 11)
    ]
    annotation = {"question_id": 2971475, "image_id": 297147, "question_type": "four", "answers": answers}
    write_file(tmp_path / "OpenEnded_mscoco_val2014_questions.json", {"questions": [asked]})
    write_file(tmp_path / "mscoco_val2014_annotations.json", {"annotations": [annotation]})
    picture = draw(tmp_path / "val2014" / "COCO_val2014_000000297147.jpg")
    [question] = load("ok-vqa", tmp_path, "val")
    assert (question.id, question.text, question.image) == ("2971475", "What sport?", picture)
    assert question.answers == ("race",) * 3 + ("motocross",) * 7
    scores = BENCHMARKS["ok-vqa"].score([question], {"2971475": "Race."})
    assert scores == {"score": pytest.approx(0.9), "four": pytest.approx(0.9)}  # (3 * 2/3 + 7 * 1) / 10
    write_file(tmp_path / "mscoco_val2014_annotations.json", {"annotations": []})
    with pytest.raises(BenchmarkError, match="no annotation for question 2971475"):
        load("ok-vqa", tmp_path, "val")


@pytest.mark.parametrize(
    ("prediction", "answers", "accuracy"),
    [
        ("red", ["red"] * 10, 1.0),
        ("red", ["red"] * 4 + ["blue"] * 6, 1.0),
        ("red", ["red"] * 2 + ["blue"] * 8, 0.6),  # (2 * 1/3 + 8 * 2/3) / 10
        ("red", ["red"] + ["blue"] * 9, 0.3),  # 9 * 1/3 / 10
        ("green", ["red"] * 10, 0.0),
        ("the  Two", ["2"] * 10, 1.0),
        ("U.S.", ["u.s."] * 10, 0.0),  # answers that all agree keep their punctuation
        ("U.S.", ["u.s."] * 9 + ["usa"], 1.0),
    ],
)
def test_vqa_accuracy(prediction: str, answers: list[str], accuracy: float):
    assert vqa_accuracy(prediction, answers) == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("A red\tbus.", "red bus"),
        ("none", "0"),
        ("red/blue", "red blue"),
        ("red, blue", "red blue"),
        ("1,000 cats", "1000 cats"),
        ("3.5 m.", "3.5 m"),
        ("dont", "don't"),
        ("wheres oclock", "where's o'clock"),
        ("Don't", "don t"),
        ("", ""),
    ],
)
def test_vqa_normalise(text: str, normal: str):
    assert vqa_normalise(text) == normal


@pytest.fixture
def a_okvqa_folder(tmp_path: Path) -> Path:
    row = {
        "split": "val",
        "image_id": 299207,
        "question_id": "22MexN",
        "question": "What is the man awaiting?",
        "choices": ["skateboarder", "train", "delivery", "cab"],
        "correct_choice_idx": 3,
        "direct_answers": ["ride"] * 6 + ["taxi"] * 2 + ["bus", "cab"],
        "difficult_direct_answer": False,
        "rationales": ["..."],
    }
    hidden = {key: row[key] for key in row if key not in ("correct_choice_idx", "direct_answers")}
    write_file(tmp_path / "aokvqa_v1p0_val.json", [row, row | {"question_id": "hard", "difficult_direct_answer": True}])
    write_file(tmp_path / "aokvqa_v1p0_test.json", [hidden])
    draw(tmp_path / "val2017" / "000000299207.jpg")
    draw(tmp_path / "test2017" / "000000299207.jpg")
    return tmp_path


def test_a_okvqa(a_okvqa_folder: Path):
    asked = list(load("a-okvqa-options", a_okvqa_folder, "val"))
    assert (asked[0].options[asked[0].correct_option or 0], len(asked[0].answers)) == ("cab", 10)
    assert asked[0].image == a_okvqa_folder / "val2017" / "000000299207.jpg"
    assert [question.category for question in asked] == [None, a_okvqa.DIFFICULT]
    assert a_okvqa.score_options(asked, {"22MexN": "cab", "hard": "Cab"}) == {"score": 0.5}
    assert a_okvqa.score_answers(asked, {"22MexN": "taxi"}) == {"score": pytest.approx(2 / 3)}  # hard is not asked
    assert a_okvqa.score_answers(asked, {"22MexN": "ride"}) == {"score": 1}
    assert a_okvqa.score_answers(asked, {"22MexN": "Ride"}) == {"score": 0}


def test_hidden_answers_cannot_be_scored(a_okvqa_folder: Path):
    asked = list(load("a-okvqa-answers", a_okvqa_folder, "test"))
    assert asked[0].options and asked[0].correct_option is None
    for name in ("a-okvqa-options", "a-okvqa-answers"):
        with pytest.raises(BenchmarkError, match="'22MexN' comes without its answer"):
            BENCHMARKS[name].score(asked, {"22MexN": "cab"})


# -- ViQuAE ------------------------------------------------------------------------------------------------------


def test_viquae(tmp_path: Path):
    row = {
        "id": "0b1f",
        "input": "this singer advertised what brand?",
        "image": "512px-Jackie_Wilson.png",
        "output": {"answer": ["Levi's", "Levi Strauss"], "original_answer": "Levi's"},
        "wikidata_id": "Q313590",
        "url": "...",
    }
    write_lines(tmp_path / "test.jsonl", row)
    picture = draw(tmp_path / "images" / "512px-Jackie_Wilson.png")
    paragraphs = ["Jackie Wilson\n", "Section::::Life.\n", "He sang.\n", "BULLET::::- one\n"]
    article = {
        "wikipedia_title": "Jackie Wilson",
        "wikidata_info": {"wikidata_id": "Q313590"},
        "text": {"paragraph": paragraphs},
        "image": "512px-Jackie_Wilson.png",
    }
    with gzip.open(tmp_path / "humans_with_faces.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.write(json.dumps(article) + "\n")
    [question] = load("viquae", tmp_path, "test")
    assert (question.id, question.image, question.item_ids) == ("0b1f", picture, ("Q313590",))
    assert question.answers == ("Levi's", "Levi Strauss")
    [item] = items("viquae", tmp_path, "test")
    assert (item.id, item.text, item.image) == ("Q313590", "Jackie Wilson\nHe sang.", picture)
    score = BENCHMARKS["viquae"].score
    assert score([question], {"0b1f": "the Levis!"}) == {"exact_match": 1, "f1": 1}
    assert score([question], {"0b1f": "Levi Strauss jeans"}) == {"exact_match": 0, "f1": pytest.approx(0.8)}


# -- SQuAD -------------------------------------------------------------------------------------------------------


def test_squad(tmp_path: Path):
    qas = [
        {"id": "a", "question": "Who?", "answers": [{"text": "the Normans", "answer_start": 4}, {"text": "Normans"}]},
        {"id": "b", "question": "Why?", "answers": [], "is_impossible": True},
    ]
    paragraphs = [{"context": "Before.", "qas": []}, {"context": "By the Normans.", "qas": qas}]
    for split in ("dev-v2.0", "xquad.es"):
        write_file(tmp_path / f"{split}.json", {"version": "2", "data": [{"title": "N", "paragraphs": paragraphs}]})
    first, second = load("squad", tmp_path, "dev-v2.0")
    assert first == BenchmarkQuestion(
        id="a",
        text="Who?",
        answers=("the Normans", "Normans"),
        item_ids=("dev-v2.0/0/1",),
        split="dev-v2.0",
        category="N",
    )
    found = [(item.id, item.text) for item in items("squad", tmp_path, "dev-v2.0")]
    assert found == [("dev-v2.0/0/0", "Before."), ("dev-v2.0/0/1", "By the Normans.")]
    assert squad.score([first, second], {"a": "Normans.", "b": ""}) == {"exact_match": 1, "f1": 1}
    assert squad.score([first, second], {"a": "Normans came", "b": "?a"}) == {
        "exact_match": 0.5,  # "?a" has no words left
        "f1": pytest.approx((2 / 3 + 1) / 2),
    }
    assert squad.score([second], {"b": "Normans"}) == {"exact_match": 0, "f1": 0}
    assert next(load("squad", tmp_path, "xquad.es")).language == "es"


def test_squad_texts():
    assert squad_normalise("The U.S.A. and  An +1-2") == "usa and 12"
    assert squad_exact_match("a cat", "Cat!") == 1
    assert squad_f1("cat cat dog", "cat") == pytest.approx(2 / 4)  # one cat is shared
    assert squad_f1("cat", "dog") == squad_f1("", "dog") == 0


# -- LoCoMo ------------------------------------------------------------------------------------------------------


@pytest.fixture
def locomo_folder(tmp_path: Path) -> Path:
    turns = [
        {"speaker": "Ann", "dia_id": "D1:1", "text": "I paint."},
        {"speaker": "Bob", "dia_id": "D1:2", "text": "Look!", "img_url": ["..."], "blip_caption": "a lake"},
    ]
    conversation = {
        "speaker_a": "Ann",
        "speaker_b": "Bob",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": turns,
        "session_2_date_time": "9 May, 2023",
    }
    qa = [
        {"question": "Hobbies?", "answer": "painting, camping", "evidence": ["D1:1; D1:02"], "category": 1},
        {"question": "When?", "answer": 2022, "evidence": ["D:1:2", "D9:9", "D"], "category": 2},
        {"question": "Would she?", "answer": "National park; she likes it", "evidence": [], "category": 3},
        {"question": "What?", "answer": "the big lake", "evidence": ["D1:2"], "category": 4},
        {"question": "Why?", "evidence": ["D1:2"], "category": 5, "adversarial_answer": "for fun"},
        {"question": "How?", "evidence": ["D1:2"], "category": 5, "adversarial_answer": "by car"},
    ]
    write_file(tmp_path / "locomo10.json", [{"sample_id": "conv-26", "conversation": conversation, "qa": qa}])
    return tmp_path


def test_locomo(locomo_folder: Path):
    *asked, last = load("locomo", locomo_folder, "locomo10")
    assert [question.category for question in asked] == list(locomo.CATEGORIES.values())
    assert last.options == ("by car", asked[4].options[0]) and last.correct_option == 1
    assert asked[0].item_ids == ("conv-26/D1:1", "conv-26/D1:2")
    assert asked[1].item_ids == ("conv-26/D1:2",) and asked[1].answers == ("2022",)
    assert all(question.where == {"conversation": "conv-26"} for question in asked)
    assert asked[4].options == (locomo.NOT_MENTIONED, "for fun") and asked[4].correct_option == 0
    assert asked[4].answers == ()
    first, second = items("locomo", locomo_folder, "locomo10")
    assert first.text == '1:56 pm on 8 May, 2023: Ann said, "I paint."'
    assert second.text == '1:56 pm on 8 May, 2023: Bob said, "Look!" [shares a lake]'
    assert second.metadata == {"conversation": "conv-26", "speaker": "Bob"} and second.id == "conv-26/D1:2"


@pytest.mark.parametrize(
    ("number", "prediction", "earned"),
    [
        (0, "camped, swims", 0.5),  # painting 0, camping 1 by its stem
        (0, "paint and camp", 2 / 3),  # both parts share one of two words
        (1, "in 2022", 2 / 3),
        (1, "", 0),
        (2, "the national parks", 1),
        (3, "a lake", 2 / 3),
        (4, "That is Not mentioned.", 1),
        (4, "No information available", 1),
        (4, "for fun", 0),
        (4, "(A)", 1),
        (4, "b", 0),
    ],
)
def test_locomo_scores(locomo_folder: Path, number: int, prediction: str, earned: float):
    question = list(load("locomo", locomo_folder, "locomo10"))[number]
    expected = {"score": pytest.approx(earned), question.category: pytest.approx(earned)}
    assert locomo.score([question], {question.id: prediction}) == expected


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "split", "missing"),
    [
        ("infoseek", "val", "infoseek_val.jsonl"),
        ("multilingual-infoseek", "val_spanish", "infoseek_val_spanish.jsonl"),
        ("oven", "val", "oven_entity_val.jsonl"),
        ("mrag-bench", "test", "test-*.parquet"),
        ("ok-vqa", "val", "OpenEnded_mscoco_val2014_questions.json"),
        ("a-okvqa-options", "val", "aokvqa_v1p0_val.json"),
        ("a-okvqa-answers", "val", "aokvqa_v1p0_val.json"),
        ("viquae", "test", "test.jsonl"),
        ("cvqa", "test", "test-*.parquet"),
        ("squad", "dev-v1.1", "dev-v1.1.json"),
        ("locomo", "locomo10", "locomo10.json"),
    ],
)
def test_a_missing_file_is_named_with_what_belongs_there(tmp_path: Path, name: str, split: str, missing: str):
    with pytest.raises(BenchmarkError) as error:
        load(name, tmp_path, split)
    assert str(error.value).startswith(f"{tmp_path}") and f"{missing} is missing. " in str(error.value)
    assert "older should hold" in str(error.value)


@pytest.mark.parametrize("name", [name for name, benchmark in BENCHMARKS.items() if benchmark.items])
def test_missing_knowledge_is_named_before_the_first_item(tmp_path: Path, name: str):
    reader = BENCHMARKS[name].items
    assert reader is not None
    with pytest.raises(BenchmarkError, match="is missing"):
        reader(tmp_path, "test")


@pytest.mark.parametrize("missing", ["infoseek_val_qtype.jsonl", "infoseek_val_withkb.jsonl"])
def test_infoseek_says_which_of_its_files_is_missing(infoseek_folder: Path, missing: str):
    (infoseek_folder / missing).unlink()
    with pytest.raises(BenchmarkError, match=f"{missing} is missing"):
        load("infoseek", infoseek_folder, "val")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{", "line 3: Invalid JSON"),
        ("", "line 3: Invalid JSON"),
        ('{"data_id": "q3"}', "line 3, image_id: Field required"),
        ('{"data_id": 3}', "line 3, data_id: Input should be a valid string"),
    ],
)
def test_a_malformed_line_is_named_before_the_first_question(infoseek_folder: Path, line: str, found: str):
    path = infoseek_folder / "infoseek_val.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:2], line, ""]), encoding="utf-8")
    with pytest.raises(BenchmarkError, match=f"infoseek_val.jsonl, {found}.*InfoSeek's folder should hold"):
        load("infoseek", infoseek_folder, "val")


def test_a_missing_picture_is_named_before_the_first_question(infoseek_folder: Path):
    (infoseek_folder / "oven_images" / "05" / "oven_05000002.JPEG").unlink()
    with pytest.raises(BenchmarkError, match=r"oven_05000002.jpg is missing. InfoSeek's folder"):
        load("infoseek", infoseek_folder, "val")


def test_a_malformed_entry_is_named(tmp_path: Path):
    paragraph = {"context": "x", "qas": [{"id": "a", "question": "?"}]}
    write_file(tmp_path / "dev.json", {"data": [{"title": "N", "paragraphs": [paragraph]}]})
    with pytest.raises(
        BenchmarkError, match="dev.json, data, entry 0, paragraphs, entry 0, qas, entry 0, answers: Field"
    ):
        load("squad", tmp_path, "dev")
    conversation = {"session_1_date_time": "today", "session_1": []}
    unanswered = {"question": "?", "category": 4}
    write_file(tmp_path / "talk.json", [{"sample_id": "s", "conversation": conversation, "qa": [unanswered]}])
    with pytest.raises(BenchmarkError, match="talk.json, entry 0, qa, entry 0: .*only a question of category 5"):
        load("locomo", tmp_path, "talk")


def test_a_choice_that_is_none_of_the_choices(a_okvqa_folder: Path):
    path = a_okvqa_folder / "aokvqa_v1p0_val.json"
    write_file(path, [row | {"correct_choice_idx": 4} for row in json.loads(path.read_text(encoding="utf-8"))])
    with pytest.raises(BenchmarkError, match="question 22MexN: correct_choice_idx is none of the choices"):
        load("a-okvqa-options", a_okvqa_folder, "val")


def test_a_packed_file_that_was_cut_off(tmp_path: Path):
    whole = gzip.compress(json.dumps({"wikidata_id": "Q1", "wikipedia_title": "One"}).encode() + b"\n")
    (tmp_path / "Wiki6M_ver_1_0.jsonl.gz").write_bytes(whole[:-6])
    with pytest.raises(BenchmarkError, match=r"Wiki6M_ver_1_0.jsonl.gz cannot be read after line"):
        items("oven", tmp_path, "val")


def test_a_benchmark_that_is_not_there_and_predictions_that_are_not(tmp_path: Path):
    with pytest.raises(BenchmarkError, match="no benchmark 'vqa'. There are: infoseek,"):
        load("vqa", tmp_path, "val")
    question = BenchmarkQuestion(id="a", text="?", answers=("b",))
    with pytest.raises(BenchmarkError, match="no prediction for question 'a'"):
        squad.score([question], {})
    with pytest.raises(BenchmarkError, match="no questions to score"):
        squad.score([], {})
    for name in ("infoseek", "oven", "ok-vqa"):
        with pytest.raises(BenchmarkError, match="comes without its answer"):
            BENCHMARKS[name].score([BenchmarkQuestion(id="a", text="?")], {"a": "b"})
