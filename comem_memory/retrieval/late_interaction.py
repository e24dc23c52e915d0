"""A reranker that compares the tokens of a question with those of a text, as the default key's model gives them.

Legend: n texts, D numbers in a token's vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from comem_memory.errors import ModelError
from comem_memory.model import torch_defaults
from comem_memory.retrieval.embedders import Embedder
from comem_memory.retrieval.sentence_transformer import SentenceTransformerEmbedder

WEIGHTS = Path(__file__).parent.parent / "data" / "late_interaction.safetensors"
"""Trained on made-up facts, for multilingual-e5-small: `python benchmarks/late_interaction.py FILE`."""
COSINE = 20.0
"""What the cosine of the keys counts beside the interaction's logit; chosen on notes-development."""
MIN_SCORE = 1.3
"""Keeps 98% of the right hits of development data: `benchmarks/min_similarity.py --reranker`."""


class LateInteraction(nn.Module):
    """Scores questions and texts by their tokens' vectors.

    Each token of one side is compared with the most similar one of the other, in projections that differ for
    questions and texts; learned weights say which tokens count. The weighted means are compared besides.

    Args:
        dimension: D.
        projected: Numbers that tokens are compared in.
    """

    def __init__(self, dimension: int, projected: int) -> None:
        super().__init__()
        start = torch.linalg.qr(torch.randn(dimension, projected))[0].T
        self.projections = nn.ParameterList([start.clone(), start.clone()])
        self.counting = nn.Parameter(torch.zeros(2, dimension))
        self.means = nn.Parameter(torch.eye(dimension))
        self.shares = nn.Parameter(torch.tensor([8.0, 4.0, 4.0]))
        self.constant = nn.Parameter(torch.tensor(-6.0))
        self.embedder = ""
        """The name of the embedder whose tokens it was trained on."""
        self.centres = nn.Buffer(torch.zeros(2, dimension))
        """(2, D), the mean token of questions, and that of texts."""

    @classmethod
    def load(cls, file: Path = WEIGHTS) -> LateInteraction:
        """The trained one."""
        with safe_open(file, "pt") as stored:
            weights = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
            embedder = stored.metadata()["embedder"]
        projected, dimension = weights["projections.0"].shape
        model = cls(dimension, projected)
        model.load_state_dict(weights)
        model.embedder = embedder
        return model.eval()

    def save(self, file: Path) -> None:
        """In half precision."""
        weights = {name: tensor.half().contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, file, {"embedder": self.embedder})

    def forward(self, questions: Sequence[torch.Tensor], texts: Sequence[torch.Tensor]) -> torch.Tensor:
        """
        Args:
            questions: m tensors (tokens, D), as the model of the key gives them.
            texts: n of these.

        Returns:
            (m, n) logits that a text answers a question.
        """
        (asked, asking), (said, saying) = (
            _padded([functional.normalize(one - centre, dim=-1) for one in side])
            for side, centre in zip((questions, texts), self.centres, strict=True)
        )
        mine, theirs = (
            functional.normalize(x @ w.T, dim=-1) for x, w in zip((asked, said), self.projections, strict=True)
        )
        weights = [
            (x @ count * x.shape[-1] ** 0.5).masked_fill(~there, -1e4).softmax(1)
            for x, there, count in zip((asked, said), (asking, saying), self.counting, strict=True)
        ]
        alike = torch.einsum("qid,pjd->qpij", mine, theirs)
        of_question = alike.masked_fill(~saying[None, :, None, :], -9).amax(3)
        of_text = alike.masked_fill(~asking[:, None, :, None], -9).amax(2)
        asked_mean, said_mean = (
            functional.normalize((x * w[..., None]).sum(1), dim=-1) for x, w in zip((asked, said), weights, strict=True)
        )
        parts = (
            (of_question * weights[0][:, None]).sum(2),
            (of_text * weights[1][None]).sum(2),
            functional.normalize(asked_mean @ self.means, dim=-1) @ said_mean.T,
        )
        weighted = [share * part for share, part in zip(self.shares, parts, strict=True)]
        return torch.stack(weighted).sum(0) + self.constant


class LateInteractionReranker:
    """Judges texts for a question by a trained late interaction and by the cosine of their keys together.

    Reads question and texts once more with the model of the key. Of a text that is longer than the model's window, the
    best window counts. What is given less than `min_score` is not found.

    Args:
        embedder: The default key's of texts, multilingual-e5-small.

    Raises:
        ModelError: Another embedder, whose tokens it does not know.
    """

    def __init__(self, embedder: Embedder | None) -> None:
        with torch_defaults():
            self._model = LateInteraction.load()
        if not isinstance(embedder, SentenceTransformerEmbedder) or embedder.name != self._model.embedder:
            raise ModelError(
                "The late interaction reads with multilingual-e5-small, and this key's texts are embedded by "
                f"{'nothing' if embedder is None else embedder.name}. Move the memory to the default key "
                "(`comem rekey`), or pass another reranker."
            )
        self._embedder = embedder
        self.min_score = MIN_SCORE

    def predict(self, pairs: Sequence[tuple[str, str]], /) -> np.ndarray:
        """Of n (question, text) pairs, (n,) scores; larger is better."""
        scores = np.zeros(len(pairs))
        for question in dict.fromkeys(question for question, _ in pairs):
            places = [at for at, (asked, _) in enumerate(pairs) if asked == question]
            scores[places] = self._scores(question, [pairs[at][1] for at in places])
        return scores

    def _scores(self, question: str, texts: Sequence[str]) -> list[float]:
        [[asked, *_]] = self._embedder.read([question], asked=True)
        windows = self._embedder.read(texts)
        every = [window for some in windows for window in some]
        with torch_defaults(), torch.inference_mode():
            [logits] = self._model([asked.tokens], [window.tokens for window in every])
            cosines = torch.stack([window.vector for window in every]) @ asked.vector
            parts = (logits + COSINE * cosines).split([len(some) for some in windows])
        return [float(part.max()) for part in parts]


def _padded(rows: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, tokens, D), and which are there, (n, tokens)."""
    there = nn.utils.rnn.pad_sequence([torch.ones(len(one), dtype=torch.bool) for one in rows], batch_first=True)
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True), there
