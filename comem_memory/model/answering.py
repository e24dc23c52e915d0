"""What answers, wherever it runs: what a model in this process and a served one have in common."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Generator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from transformers import GenerationConfig

from comem_memory.errors import PromptTooLongError
from comem_memory.model.prefix_cache import PrefixCache
from comem_memory.model.prompts import Message, Prompts
from comem_memory.process_bound import ProcessBound

P = TypeVar("P")
"""A prompt, as the model takes it."""


class Constraint(Protocol):
    """What an answer has to follow: a logits processor in this process, a grammar for a server."""

    grammar: str
    """In llguidance's form of Lark."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor: ...


class AnsweringModel(ProcessBound, Generic[P]):
    """A frozen model that answers prompts, each after memory vectors. H is its hidden size."""

    name: str
    """The hub name or folder that the model was loaded from."""
    prompts: Prompts
    """Lays out what the model reads."""

    def _not_pickled(self) -> str:
        return (
            "A model that is loaded or connected cannot be pickled: it belongs to this process. Send its name "
            f"({self.name!r}), and load it there."
        )

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """Width H of the language model's input embeddings."""

    @property
    @abstractmethod
    def max_length(self) -> int:
        """Longest prompt in tokens."""

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """Tokens that the model chooses from, which may be more than its tokenizer knows."""

    @property
    @abstractmethod
    def generation_config(self) -> GenerationConfig:
        """The model's own settings of transformers' `generate`."""

    def stops(self, given: int | list[int] | None = None) -> list[int]:
        """The tokens that end an answer.

        Args:
            given: One or several tokens to take instead of the model's own.
        """
        stops = self.generation_config.eos_token_id if given is None else given
        return list(stops) if isinstance(stops, list) else [stops]

    @abstractmethod
    def prompt(self, messages: Sequence[Message], *, tools: Sequence[dict[str, Any]] | None = None) -> P:
        """A conversation through the model's chat template.

        Args:
            messages: The conversation, which ends where the model is to answer.
            tools: The tools that the model may call, if its template knows tools.

        Raises:
            InvalidItemError: There is a picture, but the model takes none.
        """

    @abstractmethod
    def prompt_length(self, prompt: P, memory: torch.Tensor | None) -> int:
        """Tokens that the model reads: text, pictures and memory vectors."""

    @abstractmethod
    def generate(
        self,
        prompts: Sequence[P],
        memories: Sequence[torch.Tensor | None] | None = None,
        *,
        seed: int | None = None,
        prefix: PrefixCache | None = None,
        constraint: Constraint | None = None,
        stopped: threading.Event | None = None,
        **generation_kwargs: Any,
    ) -> list[list[int]]:
        """New tokens per prompt; without memory exactly the bare model's.

        Args:
            prompts: What `prompt` makes.
            memories: The memory vectors of each prompt, (n, H), or None.
            seed: The seed of sampling.
            prefix: The cache of a conversation, for a model that needs one.
            constraint: What the answer to a single prompt has to follow.
            stopped: An event that ends the answer at the next token.
            **generation_kwargs: Settings of transformers' `generate`.

        Returns:
            The new token ids of each prompt, up to and without the end-of-sequence token.
        """

    @abstractmethod
    def stream(
        self,
        prompt: P,
        memory: torch.Tensor | None = None,
        *,
        stopped: threading.Event | None = None,
        **generation_kwargs: Any,
    ) -> Generator[str, None, list[int]]:
        """Answers one prompt like `generate` and yields the text as it is made.

        To stop generating, stop iterating, or set `stopped`.

        Args:
            prompt: What `prompt` makes.
            memory: The memory vectors, (n, H), if there are any.
            stopped: An event that ends the answer at the next token.
            **generation_kwargs: Settings of `generate`.

        Returns:
            The new token ids, as the generator's value.
        """

    def remaining_tokens(self, prompt: P, memory: torch.Tensor | None) -> int:
        """How many tokens an answer may have after a prompt and its memory.

        Args:
            prompt: What `prompt` makes.
            memory: The memory vectors, (n, H), if there are any.

        Raises:
            PromptTooLongError: Prompt and memory leave no room for an answer.
        """
        length = self.prompt_length(prompt, memory)
        if length >= self.max_length:
            raise PromptTooLongError(
                f"Prompt and memory take {length} tokens, but the model's window is {self.max_length}. "
                "Shorten the conversation, or recall fewer items."
            )
        return self.max_length - length

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer's tokens, without special tokens."""
        return str(self.prompts.tokenizer.decode(tokens, skip_special_tokens=True)).strip()


def until(tokens: list[int], stops: Sequence[int]) -> list[int]:
    """The tokens before the first of those that end an answer."""
    end = next((i for i, token in enumerate(tokens) if token in stops), len(tokens))
    return tokens[:end]
