"""Items and conversations as a model's tokens: chat template, files, and text that cannot pretend to be either."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image

from comem_memory.content import Audio, repaired
from comem_memory.errors import InvalidItemError, ItemTooLongError
from comem_memory.files import MODEL_PIXELS, at_most, samples_of
from comem_memory.model.ambient import torch_defaults
from comem_memory.model.clips import Clip, takes_clips, taking_clips

ModelInputs = dict[str, torch.Tensor]
"""Inputs of the model's forward. Tensors shaped like `input_ids` run along the tokens; all others
(`pixel_values`, `image_grid_thw`, `input_features`, ...) stack the pictures and recordings of the whole batch along
their first axis."""

Message = dict[str, Any]
"""A chat message as in transformers: `role`, and `content` as text or as a list of parts
`{"type": "text", "text": str}`, `{"type": "image", "image": PIL.Image.Image}` and, of items, `{"type": "audio"}` and
`{"type": "video"}`; only a text part with `"trusted": True` may hold special tokens."""

ENCODER_INSTRUCTION = " Similar image and text knowledge for reference"
"""The user turn that precedes an item in the encoder, word for word as the authors trained it."""

CHATML_USER = "<|im_start|>user\n"
"""Begins a user turn of ChatML models (Qwen, SmolLM, ...)."""

PROMPT_VERSION = 1
"""Grows whenever items are laid out differently for the encoder, because vectors then change."""

SMALLEST_PICTURE = 28
"""Pixels a side; below this (one token of Qwen's) smaller pictures take no fewer tokens."""

UNTILED = {"crop_to_patches": False, "do_image_splitting": False}
"""Settings of picture processors (InternVL's; Idefics3's) that show a picture once instead of in tiles."""

RESTATE_INSTRUCTION = "Repeat what you remember."
"""Asks the frozen model to say what its memory holds."""


class Prompts:
    """Makes a model's inputs from items and conversations.

    Args:
        processor: The model's processor, or the tokenizer of a text-only model.
        max_pixels: Most pixels of a picture; larger ones are scaled down before the processor sees them.
    """

    def __init__(self, processor: Any, *, max_pixels: int = MODEL_PIXELS) -> None:
        self.processor = processor
        self.max_pixels = max_pixels
        self.tokenizer = getattr(processor, "tokenizer", processor)
        if self.tokenizer is not None and self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    @property
    def pad_token_id(self) -> int:
        """The token that fills up the shorter prompts of a batch."""
        return 0 if self.tokenizer is None else int(self.tokenizer.pad_token_id)

    @property
    def supports_images(self) -> bool:
        """Whether the model takes pictures."""
        return hasattr(self.processor, "image_processor")

    @property
    def supports_audio(self) -> bool:
        """Whether the model takes recordings, as the features that Whisper has and all tested families."""
        return hasattr(getattr(self.processor, "feature_extractor", None), "n_samples")

    @property
    def supports_video(self) -> bool:
        """Whether the model takes frames of a clip together."""
        return takes_clips(self.processor)

    @property
    def audio_seconds(self) -> float:
        """The longest recording that its processor does not cut, in seconds, of a model that takes some."""
        hears = self.processor.feature_extractor
        return float(getattr(self.processor, "max_audio_len", None) or hears.n_samples / hears.sampling_rate)

    @property
    def _is_text_only(self) -> bool:
        return self.processor is self.tokenizer

    @cached_property
    def template_knows_tools(self) -> bool:
        """Whether the model's own chat template lays out tools, calls and their results."""
        return re.search(r"\btools\b", str(self.processor.chat_template)) is not None

    def encoder_inputs(
        self, text: str | None, image: Image.Image | None, *, max_length: int, truncate: bool = False
    ) -> tuple[ModelInputs, list[int], bool]:
        """One item as the encoder reads it: user turn = picture and instruction, assistant turn = the text.

        ChatML models get the authors' exact layout, which has no system turn; others their own chat template. Where
        text and picture do not fit together, a picture whose tokens grow with its size is scaled down, at most to half
        of the window.

        Args:
            text: The item's text, if it has one.
            image: The item's picture, if it has one.
            max_length: Most tokens of the item: picture, text and turn markers.
            truncate: Whether a text that is too long is cut.

        Returns:
            The inputs, each with a batch axis of 1; the text's tokens in them; whether the text was cut.

        Raises:
            ItemTooLongError: The item has more than `max_length` tokens and `truncate` is off, or there is no room even
                without the text.
            InvalidItemError: There is a picture, but the model takes none.
        """
        parts: list[Message] = [{"type": "image", "image": image}] if image is not None else []
        user: Message = {"role": "user", "content": [*parts, {"type": "text", "text": ENCODER_INSTRUCTION}]}
        head = self.without_system(self.render([user], add_generation_prompt=True))
        body, end = self.text_ids(text or ""), self.turn_end_ids
        if image is None:
            inputs = self.tokenize(head, [])
        else:
            inputs = self._scaled_down(head, image, max(max_length // 2, max_length - len(body) - len(end)))
        room = max_length - inputs["input_ids"].shape[1] - len(end)
        if room < 0:
            raise ItemTooLongError(
                f"The item's picture and turn markers alone need {max_length - room} tokens, but the encoder's "
                f"window is {max_length}. Use an encoder that is trained with a larger max_length, or leave the "
                "picture out."
            )
        truncated = len(body) > room
        if truncated and not truncate:
            raise ItemTooLongError(
                f"The item's text has {len(body)} tokens, "
                f"but the encoder's window of {max_length} has room for {room}. "
                "Split it into several items, or pass truncate=True to encode its beginning "
                "(comem add --split size, --truncate)."
            )
        return _append(inputs, body[:room] + end), body[:room], truncated

    def without_system(self, turns: str) -> str:
        """The turns of a ChatML model from its first user's on, without the template's own system turn."""
        return turns[max(0, turns.find(CHATML_USER)) :]

    def _scaled_down(self, turn: str, image: Image.Image, most: int) -> ModelInputs:
        """The turn with its picture made so small that both take at most so many tokens, if that can be had."""
        smaller = image = at_most(image, self.max_pixels)
        fewest = inputs = self.tokenize(turn, [image])
        before = 0
        while (length := inputs["input_ids"].shape[1]) > most and min(smaller.size) > SMALLEST_PICTURE:
            share = 0.25 if length == before else 0.9 * most / length  # tokens grow with the area
            before, smaller = length, at_most(smaller, int(share * smaller.width * smaller.height))
            inputs = self.tokenize(turn, [smaller])
            if inputs["input_ids"].shape[1] < fewest["input_ids"].shape[1]:  # some processors scale up again
                fewest = inputs
        if length <= most:
            return inputs
        stated = self.processor.image_processor
        untiled: dict[str, Any] = {name: value for name, value in UNTILED.items() if hasattr(stated, name)}
        return self.tokenize(turn, [image], **untiled) if untiled else fewest

    def prompt_inputs(
        self, messages: Sequence[Message], *, answer: str | None = None, tools: Sequence[dict[str, Any]] | None = None
    ) -> ModelInputs:
        """A conversation through the model's chat template, ready for `generate`.

        Args:
            messages: The conversation, which ends where the model is to answer.
            answer: An answer that is put behind the prompt with its end-of-turn token, for training.
            tools: The tools that the model may call, if its template knows tools (`template_knows_tools`).

        Returns:
            Inputs with a batch axis of 1.

        Raises:
            InvalidItemError: There is a picture, but the model takes none.
        """
        inputs = self.tokenize(*self.rendered(messages, tools=tools))
        return inputs if answer is None else _append(inputs, self.answer_ids(answer))

    def rendered(
        self, messages: Sequence[Message], *, tools: Sequence[dict[str, Any]] | None = None
    ) -> tuple[str, list[Image.Image]]:
        """A conversation as the model's chat template writes it, up to the answer, and its pictures in their order.

        Args:
            messages: The conversation, which ends where the model is to answer.
            tools: The tools that the model may call, if its template knows tools (`template_knows_tools`).
        """
        images = [
            part["image"]
            for message in messages
            if not isinstance(message["content"], str)
            for part in message["content"]
            if part["type"] == "image"
        ]
        kwargs = {"tools": list(tools)} if tools else {}
        return self.render(messages, add_generation_prompt=True, **kwargs), images

    def text_ids(self, text: str) -> list[int]:
        """The tokens of a text, in which nothing is taken for a special token, such as one that ends a turn."""
        return list(self.tokenizer(self.safe_text(text), add_special_tokens=False).input_ids)

    def spell(self, token: int) -> str:
        """What a token stands for, with the space before it; a part of a character is a replacement character."""
        return str(self.tokenizer.decode([token]))

    def safe_text(self, text: str) -> str:
        """The text with nothing in it that is taken for a special token."""
        return self._escape(repaired(text))

    def beginning(self, text: str, tokens: int) -> str:
        """At most so many tokens of a text, from its beginning."""
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        return text if len(ids) <= tokens else str(self.tokenizer.decode(ids[:tokens]))

    @cached_property
    def turn_end(self) -> str:
        """What ends an item's text in the encoder, as the chat template ends an assistant's turn.

        `<end_of_turn>` and a line break for Gemma, whose end-of-sequence token is another one. Templates that write
        no special token there leave it to the end-of-sequence token.
        """
        said = "TEXT"
        turns = [{"role": "user", "content": ENCODER_INSTRUCTION}, {"role": "assistant", "content": said}]
        end = self.render(turns).rpartition(said)[2]
        return end if any(marker in end for marker in self._markers) else str(self.tokenizer.eos_token)

    @cached_property
    def turn_end_ids(self) -> list[int]:
        """The tokens of `turn_end`."""
        return list(self.tokenizer(self.turn_end, add_special_tokens=False).input_ids)

    def answer_ids(self, answer: str) -> list[int]:
        """The tokens of an answer and the one that ends its turn."""
        return [*self.text_ids(answer), next(i for i in self.turn_end_ids if i in self._markers.values())]

    @cached_property
    def _markers(self) -> dict[str, int]:
        """Special tokens and their ids, without the runs of blanks that some vocabularies hold, which do no harm."""
        named = zip(self.tokenizer.all_special_tokens, self.tokenizer.all_special_ids, strict=True)
        return {
            token: i for token, i in [*named, *self.tokenizer.added_tokens_encoder.items()] if len(token.strip()) > 1
        }

    def render(self, messages: Sequence[Message], **kwargs: Any) -> str:
        """Messages as the model's chat template writes them, with no special tokens in what they say."""
        safe = [self._safe(message) for message in messages]
        return str(self.processor.apply_chat_template(safe, tokenize=False, **kwargs))

    def _safe(self, message: Message) -> Message:
        """The message in the form that the chat template expects, with no special tokens in its text."""
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        content = _joined_texts([self._safe_part(part) for part in _joined_texts(content, trusted_apart=True)])
        if self._is_text_only:
            content = "".join(part.get("text", "") for part in content)
        calls = {"tool_calls": self._safe_values(message["tool_calls"])} if "tool_calls" in message else {}
        return message | calls | {"content": content}

    def _safe_part(self, part: Message) -> Message:
        if part["type"] != "text":
            return {"type": part["type"]}
        return {"type": "text", "text": part["text"] if part.get("trusted") else self._escape(part["text"])}

    def _safe_values(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._safe_values(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._safe_values(one) for one in value]
        return self._escape(value) if isinstance(value, str) else value

    def _escape(self, text: str) -> str:
        for token in self._markers:
            text = text.replace(token, token[0] + " " + token[1:])
        return text

    def adds_special_tokens(self, text: str) -> bool:
        """Whether the tokenizer begins this prompt with its own special tokens: transformers' rule."""
        bos = self.tokenizer.bos_token
        return not self._is_text_only and (bos is None or not text.startswith(bos))

    @torch_defaults()
    def tokenize(
        self,
        text: str,
        images: Sequence[Image.Image],
        audio: Sequence[Audio] = (),
        clips: Sequence[Clip] = (),
        **settings: bool,
    ) -> ModelInputs:
        """A prompt that the chat template wrote, with its pictures, recordings and clips in their places.

        Args:
            text: The prompt.
            images: The pictures in their order.
            audio: The recordings in their order, as `read_audio` gives them.
            clips: The clips in their order, of a model that takes some.
            **settings: Of the picture processor.

        Raises:
            InvalidItemError: There is a picture or a recording, but the model takes none, or not this one.
        """
        if images and not self.supports_images:
            kind = "is text-only and takes" if self._is_text_only else "takes"
            raise InvalidItemError(f"This model {kind} no pictures. Use a vision-language model.")
        if audio and not self.supports_audio:
            raise InvalidItemError(
                "This model takes no audio. Use one that hears, such as Qwen2-Audio, or add a text of what is said."
            )
        text = repaired(text)
        if self._is_text_only:
            return dict(self.tokenizer(text, add_special_tokens=False, return_tensors="pt"))
        given: dict[str, Any] = {}
        processor = self.processor
        if images:
            given["images"] = [at_most(image, self.max_pixels) for image in images]
        if clips:
            processor = taking_clips(processor)
            given["videos"] = [tuple(at_most(frame, self.max_pixels) for frame in clip) for clip in clips]
        if audio:
            rate = given["sampling_rate"] = self.processor.feature_extractor.sampling_rate
            given["audio"] = [samples_of(one.data, rate=rate, seconds=self.audio_seconds) for one in audio]
        try:
            processed = processor(
                text=[text],
                add_special_tokens=self.adds_special_tokens(text),
                return_tensors="pt",
                **given,
                **settings,
            )
        except ValueError as error:
            kind, remedy = "picture", "Crop it."  # Qwen's takes no strips
            if audio:  # GLM-ASR's takes one
                kind, remedy = "audio", "Make several items of one recording each."
            raise InvalidItemError(f"The model does not take this {kind}: {error}. {remedy}") from error
        return dict(processed)


def runs_along_tokens(inputs: ModelInputs, key: str) -> bool:
    """Whether an input has a number for each token; all others belong to the pictures and recordings.

    The mask of a recording's frames may by chance have as many.
    """
    return "feature" not in key and inputs[key].shape == inputs["input_ids"].shape


def _joined_texts(parts: Sequence[Message], *, trusted_apart: bool = False) -> list[Message]:
    """The parts with neighbouring texts as one: some templates trim each, or show only the first of a system turn.

    Args:
        parts: The content of a message.
        trusted_apart: Join only texts of equal trust, so that no special token is put together from two texts after
            each was escaped.
    """
    joined: list[Message] = []
    for part in parts:
        last = joined[-1] if joined else {"type": None}
        apart = trusted_apart and bool(part.get("trusted")) != bool(last.get("trusted"))
        if part["type"] == "text" and last["type"] == "text" and not apart:
            joined[-1] = last | {"text": last["text"] + part["text"]}
        else:
            joined.append(part)
    return joined


def _append(inputs: ModelInputs, ids: list[int]) -> ModelInputs:
    """`inputs` with more text tokens at the end: attended, and of token type 0."""
    more = torch.tensor([ids], dtype=inputs["input_ids"].dtype, device="cpu")
    tails = {"input_ids": more, "attention_mask": torch.ones_like(more)}
    return {
        key: torch.cat([value, tails.get(key, torch.zeros_like(more)).to(value.dtype)], dim=1)
        if runs_along_tokens(inputs, key)
        else value
        for key, value in inputs.items()
    }
