"""The memory encoder: the frozen model with a LoRA, then the Q-Former; one item becomes 8 vectors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, cast

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer, LoraModel
from PIL import Image
from torch import nn
from transformers import PreTrainedModel

from comem_memory.config import EncoderConfig, EncoderFingerprint, Frames, LoraSettings, Mode, QFormerConfig
from comem_memory.content import Audio, joined_texts, texts_of
from comem_memory.encoder.adapter_files import (
    READER_PROMPTS,
    AdapterWeights,
    Weights,
    adapter_fingerprint,
    check_fingerprint,
    fitting_config,
    read_weights,
    write_adapter,
)
from comem_memory.encoder.copied_tokens import CopiedTokens, copies
from comem_memory.encoder.qformer import QFormer
from comem_memory.errors import AdapterError, ItemTooLongError
from comem_memory.model import (
    PROMPT_VERSION,
    Backbone,
    ModelInputs,
    Prompts,
    content_inputs,
    cut_inputs,
    quantization_of,
    torch_defaults,
)
from comem_memory.process_bound import ProcessBound

MAX_LENGTH = 2048
"""Longest item in tokens, unless the encoder is made for another length."""
BATCH_TOKENS = 8192
"""Most tokens of a forward pass, padding included: an fp32 LoRA beside a bf16 model of 7B parameters takes about 0.3 MB
a token."""


class ParameterCount(NamedTuple):
    """How many parameters an encoder trains, of how many in all; as a text it tells the share."""

    trainable: int
    total: int

    def __str__(self) -> str:
        return f"{self.trainable:,} of {self.total:,} parameters are trained ({self.trainable / self.total:.2%})"


class EncoderInputs(NamedTuple):
    """One item as the encoder reads it."""

    tensors: ModelInputs
    copied: list[list[int]]
    """Ids of the tokens that each vector copies; empty for an encoder that copies none."""
    truncated: bool
    """Whether something did not fit and was left out: the end of the text, or what `left_out` names."""
    left_out: tuple[int, ...] = ()
    """Places of the parts of its content that are not in it."""


class MemoryEncoder(ProcessBound, nn.Module):
    """Encodes items with the backbone's own weights, a LoRA and a Q-Former (arXiv 2505.17670, section 3).

    With them come the reader prompts, learned vectors that stand once before whatever was recalled and tell the frozen
    model how to use it, so that the items' own vectors need not: `reader_prompt` to answer, `restate_prompt` to restate
    an item. Both are (m, H), and m is 0 for an encoder without any.

    An encoder with `function_tokens` copies: its vectors begin as embeddings of the text's own tokens
    (`copied_tokens`), to which the Q-Former's output is added.

    There is one copy of the base model. Its LoRA is on only inside `encode` and `forward`; at any other time the
    backbone is the bare model. (The authors keep two copies, and their LoRA also lands in the "frozen" one.)

    `create` makes a new encoder, `from_pretrained` loads a trained one.

    Args:
        backbone: The frozen model; its Linear layers get LoRA layers beside them.
        config: The settings of LoRA and Q-Former, and what base model they belong to.

    Raises:
        AdapterError: The model carries a memory encoder already, or its layers take no LoRA.
    """

    @torch_defaults()
    def __init__(self, backbone: Backbone, config: EncoderConfig) -> None:
        super().__init__()
        if any(isinstance(module, LoraLayer) for module in backbone.model.modules()):
            raise AdapterError(
                f"{backbone.name} already carries a memory encoder. Load the model again for a second one."
            )
        if any(hasattr(module, "qweight") for module in backbone.model.modules()):
            raise AdapterError(
                f"{backbone.name} was published quantised in a format whose layers take no LoRA (AWQ, GPTQ). Load the "
                "unquantised model with a BitsAndBytesConfig: docs/guides/precision.md."
            )
        self.backbone = backbone
        self.encoder_config = config
        lora = LoraConfig(**config.lora.model_dump(), target_modules=linear_names(backbone.model))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks for what transformers has renamed
            self.peft = get_peft_model(backbone.model, lora)
        self.lora_config.base_model_name_or_path = config.base_model  # not where it was loaded from
        for module in self.peft.modules():
            if isinstance(module, LoraLayer):
                _keep_in_memory(module)
        self.qformer = QFormer(config.qformer).to(backbone.device)
        shape = (config.num_reader_tokens, config.qformer.hidden_size)
        learned = config.num_reader_tokens > 0
        self.reader_prompt = nn.Parameter(torch.zeros(shape, device=backbone.device), learned)
        self.restate_prompt = nn.Parameter(torch.zeros(shape, device=backbone.device), learned)
        self._copied = None
        if config.function_tokens is not None:
            empty = backbone.prompts.turn_end_ids[0]
            vectors = config.qformer.num_query_tokens
            spell = backbone.prompts.spell if config.words_once else None
            self._copied = CopiedTokens(config.function_tokens, vectors=vectors, empty=empty, spell=spell)
        self._layers: list[nn.Module] = []  # those that compute again in the backward pass
        self._rest()
        self.eval()

    def _not_pickled(self) -> str:
        return (
            "A loaded encoder cannot be pickled: it belongs to this process, as its base model does. Save it with "
            "save_pretrained, send the folder, and load it there with from_pretrained."
        )

    @classmethod
    @torch_defaults()
    def create(
        cls,
        backbone: Backbone,
        *,
        num_query_tokens: int = 8,
        num_attention_heads: int = 16,
        lora: LoraSettings | None = None,
        max_length: int = MAX_LENGTH,
        recommended_mode: Mode = "memory",
        num_reader_tokens: int = 0,
        function_tokens: Sequence[int] | None = None,
        frames: Frames = "pictures",
    ) -> MemoryEncoder:
        """An untrained encoder: its LoRA has no effect yet, its Q-Former starts as an average (`init_identity`).

        Args:
            backbone: The frozen model that the encoder is trained on.
            num_query_tokens: How many vectors an item becomes.
            num_attention_heads: Heads of the Q-Former, a divisor of the model's hidden size.
            lora: Settings of the LoRA, by default the authors'.
            max_length: Longest item in tokens; a model's own window may set it lower.
            recommended_mode: How to answer with this encoder unless the user says otherwise.
            num_reader_tokens: Vectors of each reader prompt, which all start as the mean embedding of all tokens.
            function_tokens: Tokens that are copied last; with any, or an empty list, vectors start as copies of the
                others (`EncoderConfig.function_tokens`), and of the Q-Former's output there is little.
            frames: How pictures of one size that follow one another are read.

        Raises:
            AdapterError: The model carries a memory encoder already, its layers take no LoRA, or it has no video input
                for `frames`.
            ValueError: The hidden size is not a multiple of `num_attention_heads`.
        """
        qformer = QFormerConfig(
            hidden_size=backbone.hidden_size,
            num_attention_heads=num_attention_heads,
            num_query_tokens=num_query_tokens,
        )
        config = encoder_config(
            backbone,
            backbone.fingerprint(),
            qformer,
            lora or LoraSettings(),
            max_length,
            recommended_mode,
            num_reader_tokens,
            function_tokens,
            frames,
        )
        encoder = cls(backbone, config)
        embeddings = backbone.token_embeddings.float()
        encoder.qformer.init_identity(embeddings.mean(0), embeddings.std(0))
        if encoder.copies:
            encoder.begin_as_copies()
        for prompt in encoder.reader_prompts:
            prompt.data.add_(embeddings.mean(0))
        return encoder

    # -- encoding -----------------------------------------------------------------------------------------------

    @property
    def copies(self) -> bool:
        """Whether vectors begin as copies of tokens."""
        return self._copied is not None

    def begin_as_copies(self) -> None:
        """Leaves a tenth of the Q-Former's output, so that vectors are copies but for what it can learn from."""
        for parameter in self.qformer.norm_out.parameters():
            parameter.data.mul_(0.1)

    def forward(self, batch: ModelInputs, copied: Sequence[list[list[int]]] = ()) -> torch.Tensor:
        """Memory embeddings of a batch of items.

        Args:
            batch: What `backbone.batch` makes of items: tensors of shape (B, T), and the pictures of the batch.
            copied: Of each item which tokens its vectors copy; nothing for an encoder that copies none.

        Returns:
            (B, Q, H), of the Q-Former's dtype.
        """
        queries = self.qformer.query_tokens  # on the first device, when the model is spread over several
        vectors = self.qformer(self.hidden_states(batch).to(queries), batch["attention_mask"])
        return vectors + copies(copied, self.backbone).to(vectors) if copied else vectors

    def encode_batch(self, items: Sequence[EncoderInputs]) -> torch.Tensor:
        """Memory embeddings of a few items in one forward pass, (B, Q, H), of the Q-Former's dtype."""
        batch = self.backbone.batch([item.tensors for item in items])
        return self(batch, [item.copied for item in items] if self.copies else ())

    def hidden_states(self, batch: ModelInputs) -> torch.Tensor:
        """The last hidden states of the model with its LoRA on, (B, T, H): what the Q-Former reads."""
        with self._adapter_on():
            return self.backbone.hidden_states(batch)

    def inputs(
        self,
        text: str | None = None,
        image: Image.Image | None = None,
        *,
        content: Sequence[str | Image.Image | Audio] | None = None,
        truncate: bool = False,
        thin: bool = False,
    ) -> EncoderInputs:
        """One item as the encoder reads it, for `encode`.

        Args:
            text: The item's text, which may be left out where there is a picture.
            image: The item's picture, which may be left out where there is a text.
            content: Texts, pictures and recordings in their order, which are read in place of the picture, and of a
                text that they hold.
            truncate: Whether what is too long is cut, which the result then tells: steps of the content are left out,
                and where the first and last do not fit, text and picture stand for it, of which a text is cut.
            thin: Whether steps of the content may be left out.

        Raises:
            ItemTooLongError: The item has more than `encoder_config.max_length` tokens and `truncate` is off, or its
                picture alone has.
            InvalidItemError: There is a picture or a recording, but the model takes none, or not this one.
        """
        config, prompts = self.encoder_config, self.backbone.prompts
        parts = content
        if parts is None and config.layout == "trajectory":
            parts = [part for part in (image, text) if part]
        laid_out = partial(
            content_inputs, prompts, layout=config.layout, frames=config.frames, max_length=config.max_length
        )
        if parts is not None:
            own = text if text not in (joined_texts(parts), *texts_of(parts)) else None
            try:
                return self._inputs(*laid_out(parts, text=own, thin=thin or truncate))
            except ItemTooLongError:
                if not truncate:
                    raise
        if config.layout == "trajectory" and text:
            tensors, text_ids, truncated = *cut_inputs(prompts, image, text, laid_out), True
        else:
            tensors, text_ids, truncated = prompts.encoder_inputs(
                text, image, max_length=config.max_length, truncate=truncate
            )
        return self._inputs(tensors, text_ids, _behind(prompts, content, text, image, len(text_ids)), truncated)

    def _inputs(
        self, tensors: ModelInputs, text_ids: list[int], left_out: tuple[int, ...], truncated: bool = False
    ) -> EncoderInputs:
        copied = self._copied.of(text_ids) if self._copied else []
        return EncoderInputs(tensors, copied, truncated or bool(left_out), left_out)

    def encode(
        self,
        items: Sequence[EncoderInputs],
        *,
        batch_size: int = 16,
        on_batch: Callable[[int], object] | None = None,
    ) -> torch.Tensor:
        """Memory embeddings of items, which are sorted by length into padded batches.

        Args:
            items: The items as `inputs` lays them out.
            batch_size: Most items in a forward pass; there are fewer where they have `BATCH_TOKENS` tokens together.
            on_batch: Told after each forward pass how many items it encoded.

        Returns:
            (N, Q, H), float32, on the CPU, in the order of the items.

        Raises:
            ValueError: `batch_size` is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}. Encode at least 1 item at a time.")
        config = self.encoder_config.qformer
        encoded = torch.empty(
            len(items), config.num_query_tokens, config.hidden_size, dtype=torch.float32, device="cpu"
        )
        lengths = [item.tensors["input_ids"].shape[1] for item in items]
        order = sorted(range(len(items)), key=lengths.__getitem__)
        while order:
            size = max(1, min(batch_size, BATCH_TOKENS // lengths[order[-1]]))
            order, chosen = order[:-size], order[-size:]
            with self.backbone.lock, torch_defaults(), torch.inference_mode():
                encoded[chosen] = self.encode_batch([items[i] for i in chosen]).float().cpu()
            if on_batch is not None:
                on_batch(len(chosen))
        return encoded

    @contextmanager
    def _adapter_on(self) -> Iterator[None]:
        self._is_on = True
        self._lora.enable_adapter_layers()
        self.peft.train(self.training)  # the tower's own evaluation mode aside, only LoRA's dropout listens
        try:
            yield
        finally:
            self._rest()

    @property
    def _lora(self) -> LoraModel:
        return cast(LoraModel, self.peft.base_model)

    def _rest(self) -> None:
        """Switches the LoRA off, so that the backbone is the bare model, and keeps it trainable, which peft undoes."""
        self._is_on = False
        self._lora.disable_adapter_layers()
        self.peft.eval()
        for layer in self._layers:
            layer.training = self.training  # the layer itself, which then recomputes; nothing in it drops out
        for name, parameter in self.peft.named_parameters():
            parameter.requires_grad_("lora_" in name)

    def gradient_checkpointing_enable(self) -> None:
        """Makes training keep only the input of every layer, and compute the rest again in the backward pass.

        In the second computation the LoRA is as in the first: on in the encoder, off in the frozen model that answers.
        """
        model = self.backbone.model
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False, "context_fn": self._recomputing})
        self._layers = [m for m in model.modules() if getattr(m, "gradient_checkpointing", False)]

    def _recomputing(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), self._adapter_on() if self._is_on else nullcontext()

    @property
    def prompts(self) -> Prompts:
        """Lays out what the base model reads."""
        return self.backbone.prompts

    # -- parameters ---------------------------------------------------------------------------------------------

    def num_parameters(self) -> ParameterCount:
        """How many parameters are trained (LoRA, Q-Former and reader prompts), of how many in all."""
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return ParameterCount(trainable, sum(p.numel() for p in self.parameters()))

    @property
    def fingerprint(self) -> EncoderFingerprint:
        """Which encoder this is, computed from the weights as they are now."""
        found = adapter_fingerprint(self.encoder_config, self.adapter_weights)
        return found.model_copy(update={"quantization": quantization_of(self.backbone.model)})

    @property
    def adapter_weights(self) -> AdapterWeights:
        """The trained weights as they are now, without copies, on their devices."""
        lora = get_peft_model_state_dict(self.peft, save_embedding_layers=False)
        reader = {name: getattr(self, name).data for name in READER_PROMPTS if len(self.reader_prompt)}
        return AdapterWeights(dict(lora), self.qformer.state_dict(), reader)

    @property
    def reader_prompts(self) -> list[nn.Parameter]:
        """The reader prompts that there are, (m, H) each."""
        return [self.reader_prompt, self.restate_prompt] if len(self.reader_prompt) else []

    def lora_parameters(self) -> list[nn.Parameter]:
        """The trained parameters beside the Q-Former's, which have a learning rate of their own."""
        return [p for name, p in self.named_parameters() if p.requires_grad and "lora_" in name]

    @property
    def lora_config(self) -> LoraConfig:
        """The LoRA's settings as peft has them."""
        return cast(LoraConfig, self.peft.peft_config["default"])

    # -- files --------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Writes LoRA (peft format), Q-Former and reader prompts (safetensors), `config.json` and `fingerprint.json`.

        Args:
            folder: The folder to write, which is made if it is missing.
            dtype: The dtype that the weights are rounded to; by default they are kept as they are.
        """

        def stored(weights: Weights) -> Weights:
            return {name: w.detach().to(dtype or w.dtype).cpu().contiguous() for name, w in weights.items()}

        weights = AdapterWeights(*map(stored, self.adapter_weights))
        write_adapter(Path(folder), self.encoder_config, self.lora_config, weights)

    @classmethod
    @torch_defaults()
    def from_pretrained(cls, folder: str | Path, backbone: Backbone) -> MemoryEncoder:
        """Loads an adapter folder onto its base model.

        Args:
            folder: An adapter folder, as `save_pretrained` writes it.
            backbone: The base model that the adapter was trained on.

        Raises:
            AdapterError: The folder is incomplete, belongs to another base model or encoder prompt, or a weight is
                missing, unexpected, of another shape or not the one that was saved.
        """
        folder = Path(folder)
        encoder = cls(backbone, fitting_config(folder, backbone))
        try:
            encoder.load_weights(folder)
            check_fingerprint(folder, encoder.fingerprint)
        except AdapterError:
            encoder._lora.unload()  # the backbone stays free for another adapter
            raise
        return encoder

    def load_weights(self, folder: str | Path, *, resize: bool = False) -> None:
        """Replaces the trained weights by those of a folder; its settings are not looked at.

        Args:
            folder: An adapter folder, or a checkpoint of a training run.
            resize: Whether the folder's encoder may make another number of vectors, or have another number of reader
                tokens; they are then interpolated in their order, as position embeddings of vision transformers are.
                Where it has no reader prompts, this encoder keeps its own.

        Raises:
            AdapterError: A file is damaged, or a weight is missing, unexpected or of another shape.
        """
        lora, qformer, reader = read_weights(Path(folder), self.adapter_weights, resize=resize)
        set_peft_model_state_dict(self.peft, lora)
        self.qformer.load_state_dict(qformer)
        for name, prompt in reader.items():
            getattr(self, name).data.copy_(prompt)


def encoder_config(
    backbone: Backbone,
    base_fingerprint: str,
    qformer: QFormerConfig,
    lora: LoraSettings,
    max_length: int = MAX_LENGTH,
    recommended_mode: Mode = "memory",
    num_reader_tokens: int = 0,
    function_tokens: Sequence[int] | None = None,
    frames: Frames = "pictures",
) -> EncoderConfig:
    """The settings of a new encoder, made by this version of the library.

    Args:
        backbone: The base model.
        base_fingerprint: The fingerprint of the base model's weights, which need not be loaded.
        qformer: The shape of the Q-Former.
        lora: The settings of the LoRA.
        max_length: Longest item in tokens; a model's own window may set it lower.
        recommended_mode: How to answer with this encoder unless the user says otherwise.
        num_reader_tokens: Vectors of each reader prompt.
        function_tokens: Tokens that are copied last, of an encoder that copies.
        frames: How pictures of one size that follow one another are read.

    Raises:
        AdapterError: `frames` is "video", but the base model has no video input.
    """
    if frames == "video" and not backbone.prompts.supports_video:
        raise AdapterError(
            f"{backbone.name} takes no frames as video. Read them as pictures (frames='pictures'), or use a model "
            "that sees several frames in a patch, such as Qwen2.5-VL."
        )
    return EncoderConfig(
        base_model=backbone.name,
        base_revision=backbone.revision,
        base_fingerprint=base_fingerprint,
        prompt_version=PROMPT_VERSION,
        max_length=min(max_length, backbone.max_length),
        qformer=qformer,
        lora=lora,
        frames=frames,
        recommended_mode=recommended_mode,
        num_reader_tokens=num_reader_tokens,
        function_tokens=None if function_tokens is None else tuple(function_tokens),
        words_once=True,
        library_version=version("comem-memory"),
    )


def _keep_in_memory(layer: LoraLayer) -> None:
    """Gives a LoRA weights on its device where accelerate fetches the layer's own from disk or RAM each time."""
    hook = getattr(layer.get_base_layer(), "_hf_hook", None)
    if hook is not None and layer.lora_A["default"].weight.is_meta:
        layer.lora_A.to_empty(device=hook.execution_device)
        layer.lora_B.to_empty(device=hook.execution_device)
        layer.reset_lora_parameters("default", init_lora_weights=True)


def _behind(
    prompts: Prompts,
    content: Sequence[str | Image.Image | Audio] | None,
    text: str | None,
    image: Image.Image | None,
    tokens: int,
) -> tuple[int, ...]:
    """Places of the content's parts that are not read where a picture and the first tokens of a text stand for it."""
    said, left_out = list[str](), list[int]()
    is_own = text != joined_texts(content or ())
    for place, part in enumerate(content or ()):
        if not isinstance(part, str):
            left_out += [place] if part is not image else []
            continue
        left_out += [place] if is_own or len(prompts.text_ids("\n".join(said))) >= tokens else []
        said.append(part)
    return tuple(left_out)


def linear_names(model: PreTrainedModel) -> list[str]:
    """Names of the modules that get a LoRA, as in the authors' code: every Linear but the output head.

    Args:
        model: A language model, or a vision-language model with its vision tower and projector.
    """
    head = model.get_output_embeddings()
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]
