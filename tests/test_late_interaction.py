"""The reranker that comes with the default key."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comem_memory import ContinuousMemory
from comem_memory.errors import ModelError, QueryError
from comem_memory.evaluation.question_sets import question_set
from comem_memory.opening import open_key, open_reranker
from comem_memory.retrieval import LateInteractionReranker, RetrievalKey, SentenceTransformerEmbedder
from comem_memory.retrieval.late_interaction import COSINE, LateInteraction
from comem_memory.testing import LetterEmbedder


@pytest.fixture(scope="module")
def embedder() -> SentenceTransformerEmbedder:
    text = open_key(None).text
    assert isinstance(text, SentenceTransformerEmbedder)
    return text


@pytest.fixture(scope="module")
def reranker(embedder: SentenceTransformerEmbedder) -> LateInteractionReranker:
    return LateInteractionReranker(embedder)


def test_what_answers_comes_first_more_often_than_by_the_key_alone(
    embedder: SentenceTransformerEmbedder, reranker: LateInteractionReranker
):
    notes = question_set("notes-development", searched=True)
    texts, asked = [item.text or "" for item in notes.items], notes.asked[:30]
    right = [[item.id for item in notes.items].index(one.item_ids[0]) for one in asked]
    nearest = np.argsort(-embedder.embed_queries([one.text for one in asked]) @ embedder.embed(texts).T, axis=1)[:, :8]
    judged = [
        some[reranker.predict([(one.text, texts[at]) for at in some]).argmax()]
        for one, some in zip(asked, nearest, strict=True)
    ]
    assert (np.array(judged) == right).sum() > (nearest[:, 0] == right).sum()


def test_scores_of_a_pair_do_not_depend_on_the_others(reranker: LateInteractionReranker):
    pairs = [("Who cuts my hair?", "Renzo is my barber."), ("Where do I live?", "I live in Oulu, by the sea.")]
    pairs += [("Who cuts my hair?", "I live in Oulu."), ("Where do I live?", "")]
    together = reranker.predict(pairs)
    assert together == pytest.approx([reranker.predict([pair])[0] for pair in pairs], abs=1e-3)
    assert reranker.predict([]).shape == (0,)


def test_the_best_window_of_a_long_text_counts(reranker: LateInteractionReranker):
    about = "The harbour was rebuilt after the storm, and ships came again. "
    question = "What is the code of the alarm?"
    known, other, short = reranker.predict(
        [(question, about * 60 + "The alarm's code is 4719."), (question, about * 60), (question, about)]
    )
    assert known > other == pytest.approx(short, abs=3)


def test_a_window_is_read_as_its_key_is_made(embedder: SentenceTransformerEmbedder):
    texts = ["Renzo is my barber.", "Où habite-t-elle ?"]
    for asked, vectors in ((False, embedder.embed(texts)), (True, embedder.embed_queries(texts))):
        read = embedder.read(texts, asked=asked)
        assert [len(windows) for windows in read] == [1, 1]
        np.testing.assert_allclose(torch.stack([one.vector for [one] in read]), vectors, atol=1e-5)
        assert all(one.tokens.shape[1] == 384 and len(one.tokens) < 16 for [one] in read)
    assert embedder.read([]) == []


def test_score_is_the_logit_and_the_cosine_of_the_keys(
    embedder: SentenceTransformerEmbedder, reranker: LateInteractionReranker
):
    question, text = "Who cuts my hair?", "Renzo is my barber."
    with torch.inference_mode():
        logit = LateInteraction.load()(
            [embedder.read([question], asked=True)[0][0].tokens], [embedder.read([text])[0][0].tokens]
        )
    cosine = float((embedder.embed_queries([question]) @ embedder.embed([text]).T)[0, 0])
    assert reranker.predict([(question, text)])[0] == pytest.approx(float(logit) + COSINE * cosine, abs=1e-3)


def test_its_least_score_keeps_what_answers_and_leaves_out_what_does_not(reranker: LateInteractionReranker):
    text = "Renzo is my barber."
    known, other, talk = reranker.predict(
        [("Who cuts my hair?", text), ("How much is 17 times 23?", text), ("Good morning!", text)]
    )
    assert known >= reranker.min_score > max(other, talk)


def test_it_is_opened_by_its_name_with_the_default_key_alone(embedder: SentenceTransformerEmbedder):
    class Own:
        def predict(self, pairs: list[tuple[str, str]], /) -> Any:
            return [len(text) for _, text in pairs]

    key, own = RetrievalKey(embedder), Own()
    assert isinstance(open_reranker("late-interaction", key), LateInteractionReranker)
    assert open_reranker(own, key) is own
    assert open_reranker(None, key) is None
    with pytest.raises(QueryError, match="reranker is 'bm25'.*late-interaction"):
        ContinuousMemory.from_pretrained("nowhere", reranker="bm25")  # said before a model is looked for
    for other in (RetrievalKey(LetterEmbedder()), open_key("all-MiniLM-L6-v2")):
        with pytest.raises(ModelError, match="comem rekey"):
            open_reranker("late-interaction", other)


def test_a_saved_one_scores_as_before(tmp_path: Path):
    torch.manual_seed(0)
    model = LateInteraction(8, 4)
    model.embedder = "letters"
    model.save(tmp_path / "weights.safetensors")
    loaded = LateInteraction.load(tmp_path / "weights.safetensors")
    questions, texts = ([torch.randn(size, 8) for size in sizes] for sizes in ((3, 5), (2, 6, 4)))
    assert loaded.embedder == "letters"
    assert loaded(questions, texts).shape == (2, 3)
    torch.testing.assert_close(loaded(questions, texts), model(questions, texts), atol=0.02, rtol=0)
