"""The frozen model, memory vectors before its prompts, and generation.

What differs between model families is here and in `prompts` and `loading`. A model is any stock transformers class
that takes `inputs_embeds`: a vision-language model (Qwen2.5-VL, Gemma 3, InternVL, ...), one that hears (Qwen2-Audio,
...) or a text-only causal language model. Letters in shapes: B prompts, T tokens, Q query tokens, H hidden size.
"""

from __future__ import annotations

import atexit
import contextvars
import inspect
import threading
from collections.abc import Callable, Generator, Sequence
from queue import Queue
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, TextIteratorStreamer

from comem_memory.errors import ModelError
from comem_memory.files import MODEL_PIXELS
from comem_memory.model.ambient import torch_defaults
from comem_memory.model.answering import AnsweringModel, Constraint, until
from comem_memory.model.fingerprint import model_fingerprint
from comem_memory.model.loading import declaring_embeddings, load_model
from comem_memory.model.prefix_cache import PrefixCache
from comem_memory.model.prompts import Message, ModelInputs, Prompts, runs_along_tokens

AUDIO = "input_features"
"""The input in which models of transformers take audio."""


class Backbone(AnsweringModel[ModelInputs]):
    """A frozen model with its processor, in this process. A prompt is the model's inputs, with a batch axis of 1.

    Args:
        model: The model, of a class of transformers.
        processor: The model's processor, or the tokenizer of a text-only model.
        name: The hub name or folder that the model was loaded from.
        revision: The hub commit that the model was loaded from, if it comes from a hub.
        max_pixels: Most pixels of a picture; larger ones are scaled down before the model's own processor sees them.

    The model's own state (adapter on or off, cached rotary offsets) is not thread-safe, so whoever runs the model
    while other threads may holds `lock`, as `generate` and `MemoryEncoder.encode` do.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Any,
        *,
        name: str,
        revision: str | None = None,
        max_pixels: int = MODEL_PIXELS,
    ) -> None:
        self.model = declaring_embeddings(model.eval().requires_grad_(False))
        self.prompts = Prompts(processor, max_pixels=max_pixels)
        self.name, self.revision = name, revision
        self.lock = threading.RLock()

    @classmethod
    def from_pretrained(
        cls, name_or_path: str, *, revision: str | None = None, max_pixels: int = MODEL_PIXELS, **model_kwargs: Any
    ) -> Backbone:
        """Loads a model and its processor through transformers' Auto classes.

        Args:
            name_or_path: A hub name or a folder.
            revision: The hub branch, tag or commit to load.
            max_pixels: Most pixels of a picture; larger ones are scaled down.
            **model_kwargs: Settings for the model class (`dtype`, `device_map`, `attn_implementation`,
                `quantization_config`, ...). Where there is a GPU, `device_map` is "auto" unless it is given.

        Raises:
            ModelError: There is no such model, transformers does not know its kind, or it cannot be loaded in this way.
        """
        model, processor = load_model(name_or_path, revision=revision, **model_kwargs)
        commit = getattr(model.config, "_commit_hash", None) or revision
        return cls(model, processor, name=str(name_or_path), revision=commit, max_pixels=max_pixels)

    @property
    def device(self) -> torch.device:
        """The device that inputs go to: the first that holds weights; a model on several moves them on by itself."""
        held = (weight.device for weight in self.model.parameters() if not weight.is_meta)
        return next(held, torch.device("cpu") if hasattr(self.model, "hf_device_map") else self.model.device)

    @property
    def hidden_size(self) -> int:
        return int(self.model.get_input_embeddings().weight.shape[1])

    @property
    def token_embeddings(self) -> torch.Tensor:
        """The input embedding of each token of the vocabulary, (vocabulary, H): memory lies in the same space.

        It is not always the embedding's weight, which Gemma scales by the square root of H.
        """
        embed = self.model.get_input_embeddings()
        with torch.no_grad():
            return embed(torch.arange(len(embed.weight), device=self.device)).detach()  # checkpointing wants a gradient

    @property
    def generation_config(self) -> GenerationConfig:
        return self.model.generation_config

    @property
    def image_token_id(self) -> int | None:
        """The token that stands for a picture, or for each of its patches; text-only models have none."""
        return getattr(self.model.config, "image_token_id", None)

    @property
    def max_length(self) -> int:
        return int(self.model.config.get_text_config().max_position_embeddings)

    @property
    def vocabulary_size(self) -> int:
        return int(self.model.get_output_embeddings().weight.shape[0])

    def fingerprint(self) -> str:
        """Hash that stands for the published checkpoint; see `model_fingerprint`.

        Raises:
            ModelError: The checkpoint's files are needed and are gone.
        """
        return model_fingerprint(self.model, self.revision)

    def prompt(self, messages: Sequence[Message], *, tools: Sequence[dict[str, Any]] | None = None) -> ModelInputs:
        return self.prompts.prompt_inputs(messages, tools=tools)

    def prompt_length(self, prompt: ModelInputs, memory: torch.Tensor | None) -> int:
        return prompt["input_ids"].shape[1] + (0 if memory is None else len(memory))

    # -- memory before prompts ----------------------------------------------------------------------------------

    def batch(
        self, prompts: Sequence[ModelInputs], memories: Sequence[torch.Tensor | None] | None = None
    ) -> ModelInputs:
        """Joins prompts into one left-padded batch, each after its memory.

        A memory slot is an ordinary text position: a placeholder id in `input_ids`, whose row of `inputs_embeds` is
        replaced by the memory embedding. Positions, pictures, cache and decoding of the stock model are then right for
        every family: memory takes positions 0 .. n-1 and everything else follows.

        Args:
            prompts: The inputs of each prompt, with a batch axis of 1.
            memories: The memory vectors of each prompt, (n, H), possibly with n = 0, or None.

        Returns:
            The batch, with `inputs_embeds` (B, T, H) when any prompt has memory.

        Raises:
            ModelError: One of them has memory and one has audio, which stock models leave out beside `inputs_embeds`.
        """
        memories = [None if m is None or not len(m) else m for m in memories or [None] * len(prompts)]
        counts = [0 if m is None else len(m) for m in memories]
        length = max(count + p["input_ids"].shape[1] for count, p in zip(counts, prompts, strict=True))
        # Placeholders repeat a token that the prompt holds anyway, so a repetition penalty sees nothing new.
        fill = {"input_ids": [self._placeholder(p) for p in prompts], "attention_mask": [1] * len(prompts)}
        joined: ModelInputs = {}
        for key in {key for prompt in prompts for key in prompt}:
            tensors = [prompt[key] for prompt in prompts if key in prompt]
            if not all(runs_along_tokens(p, key) for p in prompts if key in p):
                joined[key] = _stack_files(tensors).to(self.device)
                continue
            pad = self.prompts.pad_token_id if key == "input_ids" else 0
            rows = torch.full((len(prompts), length), pad, dtype=tensors[0].dtype, device="cpu")
            for row, (prompt, count) in enumerate(zip(prompts, counts, strict=True)):
                values = prompt[key][0] if key in prompt else torch.zeros_like(prompt["input_ids"][0])
                start = length - len(values)
                rows[row, start:] = values
                rows[row, start - count : start] = fill.get(key, [0] * len(prompts))[row]
            joined[key] = rows.to(self.device)
        if AUDIO in joined:
            joined[AUDIO] = joined[AUDIO].to(self.model.dtype)  # which not every audio tower sees to
        if any(counts) and AUDIO in joined:
            raise ModelError("A prompt with audio takes no memory. Ask in text, and store the recording as an item.")
        if any(counts):
            joined["inputs_embeds"] = self._with_memories(joined["input_ids"], prompts, memories)
        return joined

    def _placeholder(self, prompt: ModelInputs) -> int:
        """The prompt's first token that stands for no picture."""
        return next(token for token in prompt["input_ids"][0].tolist() if token != self.image_token_id)

    def _with_memories(
        self, input_ids: torch.Tensor, prompts: Sequence[ModelInputs], memories: Sequence[torch.Tensor | None]
    ) -> torch.Tensor:
        """The embeddings of a batch, with the memory vectors in the rows of their placeholders."""
        embeds = self.model.get_input_embeddings()(input_ids)
        rows = []
        for row, prompt, memory in zip(embeds, prompts, memories, strict=True):
            if memory is not None:
                start = len(row) - prompt["input_ids"].shape[1]
                row = torch.cat([row[: start - len(memory)], memory.to(row), row[start:]])
            rows.append(row)
        return torch.stack(rows)

    def positions(self, batch: ModelInputs) -> torch.Tensor:
        """The position ids that the stock `generate` would use for this batch, of the family's own shape."""
        rest = {key: value for key, value in batch.items() if key not in ("input_ids", "inputs_embeds")}
        return self.model._prepare_position_ids_for_generation(batch["input_ids"], rest)

    def hidden_states(self, batch: ModelInputs) -> torch.Tensor:
        """Last hidden states after the final norm, (B, T, H); gradients flow if they are enabled."""
        return self._run(self.model.base_model, batch).last_hidden_state

    def logits(self, batch: ModelInputs) -> torch.Tensor:
        """Next-token logits of every position, (B, T, vocabulary)."""
        return self._run(self.model, batch).logits

    def _run(self, model: torch.nn.Module, batch: ModelInputs, **kwargs: Any) -> Any:
        given = batch | {"position_ids": self.positions(batch)}
        if AUDIO not in given:  # which has its place among the tokens alone
            del given["input_ids"]
            if "inputs_embeds" not in given:
                given["inputs_embeds"] = self.model.get_input_embeddings()(batch["input_ids"])
        return model(**given, use_cache=False, **kwargs)

    def answer_logits(
        self,
        prompts: Sequence[ModelInputs],
        answer_lengths: Sequence[int],
        memories: Sequence[torch.Tensor | None] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The model's logits at the answers' tokens, each after its prompt and memory.

        Only positions that may belong to an answer go through the output head, which would otherwise be most of the
        work.

        Args:
            prompts: The inputs of each prompt, which end with the answer, with a batch axis of 1.
            answer_lengths: The number of tokens of each answer, with its end-of-turn token.
            memories: The memory vectors of each prompt, (n, H), or None.

        Returns:
            The logits (N, vocabulary), float32, and the tokens that stand there (N,), for all N tokens of all answers.
        """
        batch = self.batch(prompts, memories)
        ids = batch["input_ids"]
        lengths = torch.tensor(answer_lengths, device=ids.device)
        longest = max(answer_lengths)
        is_answer = torch.arange(longest, 0, -1, device=ids.device) <= lengths[:, None]  # answers end the row
        # Positions by index, not by number: of a slice PyTorch would copy the output head once a row.
        kept = torch.arange(ids.shape[1] - longest - 1, ids.shape[1] - 1, device=ids.device)
        if "logits_to_keep" in inspect.signature(self.model.forward).parameters:
            logits = self._run(self.model, batch, logits_to_keep=kept).logits
        else:  # Qwen2-Audio
            logits = self._run(self.model, batch).logits[:, kept]
        return logits[is_answer].float(), ids[:, -longest:][is_answer]

    def answer_loss(
        self,
        prompts: Sequence[ModelInputs],
        answer_lengths: Sequence[int],
        memories: Sequence[torch.Tensor | None] | None = None,
    ) -> torch.Tensor:
        """Mean cross-entropy of the answers' tokens.

        Args:
            prompts: The inputs of each prompt, which end with the answer, with a batch axis of 1.
            answer_lengths: The number of tokens of each answer, with its end-of-turn token.
            memories: The memory vectors of each prompt, (n, H), or None.
        """
        return torch.nn.functional.cross_entropy(*self.answer_logits(prompts, answer_lengths, memories))

    # -- generation ---------------------------------------------------------------------------------------------

    def generate(
        self,
        prompts: Sequence[ModelInputs],
        memories: Sequence[torch.Tensor | None] | None = None,
        *,
        seed: int | None = None,
        prefix: PrefixCache | None = None,
        constraint: Constraint | None = None,
        stopped: threading.Event | None = None,
        **generation_kwargs: Any,
    ) -> list[list[int]]:
        """New tokens per prompt through the stock `generate`; without memory exactly the bare model's.

        Args:
            prompts: The inputs of each prompt, with a batch axis of 1.
            memories: The memory vectors of each prompt, (n, H), or None.
            seed: The seed of sampling; the caller's random numbers stay as they are.
            prefix: The cache of a conversation, whose next turn is then the only prompt. It is not used with a seed,
                which promises the same answer to the last bit.
            constraint: What the answer to a single prompt has to follow.
            stopped: An event that ends the answer at the next token, or before its first while it waits for `lock`.
            **generation_kwargs: Settings of the stock `generate` (`max_new_tokens`, `do_sample`, `streamer`, ...).

        Returns:
            The new token ids of each prompt, up to and without the end-of-sequence token.

        Raises:
            ModelError: The stock `generate` would lose the memory under these settings.
        """
        settings = {"do_sample": False} | generation_kwargs
        if constraint is not None:
            settings["logits_processor"] = [*(settings.get("logits_processor") or []), constraint]
        if stopped is not None:
            criteria = settings.get("stopping_criteria") or []
            settings["stopping_criteria"] = [*criteria, _until_set(stopped)]
        if not _acquired(self.lock, stopped):
            return [[] for _ in prompts]
        try:
            with torch_defaults(), torch.inference_mode(), torch.random.fork_rng(enabled=seed is not None):
                if seed is not None:
                    torch.manual_seed(seed)
                batch = self.batch(prompts, memories)
                _check_read_once(batch, settings)
                if prefix is None or seed is not None or not prefix.takes(self.model, settings):
                    output = self.model.generate(**batch, **settings)
                else:
                    [memory] = memories or [None]
                    output = self._continued(prefix, batch, memory, settings)
        finally:
            self.lock.release()
        new = output[:, batch["input_ids"].shape[1] :]
        stops = self.stops(generation_kwargs.get("eos_token_id"))
        return [until(row.tolist(), stops) for row in new]

    def _continued(
        self, prefix: PrefixCache, batch: ModelInputs, memory: torch.Tensor | None, settings: dict[str, Any]
    ) -> torch.Tensor:
        """The tokens of one prompt and of its answer, (1, T), without computing again what the cache holds of them."""
        memory = None if memory is None or not len(memory) else memory.clone()  # the caller's may change
        left = prefix.inputs(batch, memory, dtype=self.model.dtype, image_token_id=self.image_token_id)
        inputs = batch if left is None else left | {"position_ids": self.positions(batch)}  # of the whole prompt
        output = self.model.generate(**inputs, **settings, return_dict_in_generate=True)
        if "position_ids" in inspect.signature(self.model.forward).parameters:
            prefix.keep(output.past_key_values, output.sequences[0], memory, batch)
        return output.sequences

    def stream(
        self,
        prompt: ModelInputs,
        memory: torch.Tensor | None = None,
        *,
        stopped: threading.Event | None = None,
        **generation_kwargs: Any,
    ) -> Generator[str, None, list[int]]:
        streamer = TextIteratorStreamer(self.prompts.tokenizer, skip_prompt=True, skip_special_tokens=True)
        failures: Queue[Exception] = Queue()
        tokens: list[int] = []
        stopped = stopped or threading.Event()

        def run() -> None:
            try:
                [made] = self.generate([prompt], [memory], streamer=streamer, stopped=stopped, **generation_kwargs)
                tokens.extend(made)
            except Exception as error:
                failures.put(error)
            finally:
                streamer.end()

        worker = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)

        def leave() -> None:
            if worker.is_alive():
                stopped.set()
                worker.join()

        worker.start()
        atexit.register(leave)  # a stream that is left open must not be torn down at work
        try:
            yield from (piece for piece in streamer if piece)
            worker.join()
        finally:
            leave()
            atexit.unregister(leave)
        if not failures.empty():
            raise failures.get()
        return tokens


def _until_set(stopped: threading.Event) -> Callable[[torch.Tensor, Any], torch.Tensor]:
    """A stopping criterion of `generate` that is met when the event is set."""
    return lambda ids, scores: torch.full((len(ids),), stopped.is_set(), dtype=torch.bool, device=ids.device)


def _acquired(lock: threading.RLock, stopped: threading.Event | None) -> bool:
    """Waits for a lock, and tells whether it has it; without it when the event is set."""
    if stopped is None:
        return lock.acquire()
    while not stopped.is_set():
        if lock.acquire(timeout=0.1):
            return True
    return False


def _check_read_once(batch: ModelInputs, settings: dict[str, Any]) -> None:
    """Refuses settings under which `generate` reads the prompt again, or in parts, from its tokens alone."""
    if "inputs_embeds" in batch and (settings.get("use_cache") is False or settings.get("prefill_chunk_size")):
        raise ModelError(
            "With use_cache=False or prefill_chunk_size the model would read placeholders where its memory is. "
            "Leave them out, or ask without memory."
        )


def _stack_files(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Joins the prompts' files along the first axis; smaller ones get zeros at their ends, as processors do."""
    sizes = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    padded = []
    for tensor in tensors:
        lacking = [size - own for size, own in zip(sizes, tensor.shape[1:], strict=True)]
        padded.append(torch.nn.functional.pad(tensor, [n for lack in reversed(lacking) for n in (0, lack)]))
    return torch.cat(padded)
