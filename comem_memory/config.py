"""The settings that are saved with an adapter, each default with its origin. No torch here."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Mode = Literal["memory", "text", "both", "none"]
"""What of the recalled items a model is given: their vectors before the prompt, their texts and pictures in it (plain
retrieval-augmented prompting), both, or nothing."""

Order = Literal["best_last", "best_first"]
"""Where among the recalled items the best one stands in the prompt: last, next to the question (arXiv 2505.17670), or
first, as the authors' agents have it (arXiv 2510.09038)."""

Split = Literal["heading", "size"]
"""Where texts are cut into items: at the headings of Markdown, or by size, where a paragraph, line or word ends."""

Layout = Literal["knowledge", "trajectory"]
"""How an encoder reads an item of several parts (`model.content_layout`): as CoMEM's authors lay out an item of one
picture and text, step by step, or as the agents' authors lay out a trajectory."""

Frames = Literal["pictures", "video"]
"""How an encoder reads pictures of one size that follow one another, such as the frames of a clip: one by one, or
together through the model's video input (`model.clips`)."""

TrajectoryFormat = Literal["comem-agent", "browser-use", "messages"]
"""Whose files runs of agents are in: CoMEM's authors', browser-use's, or messages of LangChain, LangGraph or OpenAI."""


class Settings(BaseModel):
    """Frozen, and an unknown key is an error rather than a silent typo."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class QFormerConfig(Settings):
    """Shape of the Q-Former (arXiv 2505.17670, section 3; `qformer.py` in the authors' code)."""

    hidden_size: int = Field(gt=0)
    """Width H of the language model: the Q-Former reads and writes vectors of this size."""
    num_attention_heads: int = Field(gt=0)
    """Heads; each is hidden_size / num_attention_heads wide (the authors: 16 heads of 224 at 3584)."""
    num_query_tokens: int = Field(8, gt=0)
    """Vectors per item (`num_queries` in the authors' code)."""
    depth: int = Field(8, gt=0)
    """How often the one shared block is applied."""
    ff_mult: int = Field(4, gt=0)
    """Width of the feed-forward layer, in multiples of hidden_size."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> QFormerConfig:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}."
            )
        return self


class LoraSettings(Settings):
    """The encoder's LoRA, as in the authors' `scripts/train/finetune_lora_vision_vlm.sh`."""

    r: int = Field(16, gt=0)
    """Rank."""
    lora_alpha: int = Field(32, gt=0)
    """The update is multiplied by lora_alpha / r."""
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    """Share of the inputs that training leaves out."""
    rank_pattern: dict[str, int] = {}
    """Modules of another rank than `r`, as in peft: all of them in an encoder that was converted exactly."""
    alpha_pattern: dict[str, int] = {}
    """Modules of another alpha than `lora_alpha`, as in peft."""


class EncoderConfig(Settings):
    """What `MemoryEncoder.save_pretrained` writes to `config.json` beside the weights."""

    base_model: str
    """Name or path the base model was loaded from."""
    base_revision: str | None = None
    """Hub commit of the base model."""
    base_fingerprint: str
    """Hash of a sample of the base model's published weights, however they were loaded: another base is refused."""
    prompt_version: int
    """Version of the encoder prompt; vectors made with another prompt are not comparable."""
    max_length: int = Field(gt=0)
    """Longest item in tokens: picture, text and turn markers."""
    layout: Layout = "knowledge"
    """How items are laid out for the encoder."""
    frames: Frames = "pictures"
    """How it reads pictures of one size that follow one another; `video` takes about half the tokens."""
    qformer: QFormerConfig
    """Shape of the Q-Former."""
    lora: LoraSettings = LoraSettings()
    """Settings of the LoRA."""
    num_reader_tokens: int = Field(0, ge=0)
    """Vectors of the reader prompts, of which one stands once before what is recalled when a question is answered, and
    the other when an item is restated: learned, the same for all items, and no part of what is stored, so that vectors
    stay valid under other reader prompts. 0 for the authors' checkpoints, which have none."""
    function_tokens: tuple[int, ...] | None = None
    """Ids of tokens that tell little of an item, the most frequent first. With them each vector is the copy of some of
    the text's other tokens, corrected by LoRA and Q-Former; `None` where these alone make it, as the authors' do."""
    words_once: bool = False
    """With `function_tokens`, copy a word that comes again only once where a text has more to copy than there are
    vectors; not so in adapters that were saved before this was known to be better."""
    recommended_mode: Mode = "memory"
    """How to answer unless the user says otherwise: `both` as long as the vectors alone answer less than text does."""
    order: Order = "best_last"
    """In which order the model reads recalled items, as the encoder was trained; it changes no vector."""
    margin: float | None = Field(None, ge=0, le=2)
    """How much less similar to the question than the first recalled item another may be to be given to the model too:
    a small model is led astray by items about something else. `None` gives it all that are recalled. A memory may have
    another; it changes no vector."""
    library_version: str
    """Version of this library that saved it."""


class EncoderFingerprint(Settings):
    """Which encoder made a vector.

    Two encoders with equal fingerprints make equal vectors, up to the rounding of 16 bits where the base model is
    loaded in them.
    """

    base_model: str
    """Name or path the base model was loaded from; it does not count in `digest`."""
    base_revision: str | None = None
    """Hub commit of the base model; it does not count either."""
    base_fingerprint: str
    """As in `EncoderConfig`."""
    quantization: str | None = None
    """Settings of a base model that was quantised to 8 or 4 bits while it was loaded: its vectors are others."""
    adapter_hash: str
    """16 hexadecimal digits for the adapter's weights and what else changes its vectors."""
    prompt_version: int
    """As in `EncoderConfig`."""
    num_query_tokens: int
    """Vectors per item."""
    hidden_size: int
    """Numbers in a vector."""

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that stand for all of it; the base model's name and path do not count."""
        content = self.model_dump(exclude={"base_model", "base_revision"}, exclude_none=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        quantised = "" if self.quantization is None else f" ({self.quantization})"
        return f"{self.base_model}{quantised} + adapter {self.adapter_hash[:8]} (encoder {self.digest})"
