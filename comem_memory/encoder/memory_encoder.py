"""The memory encoder: the frozen model with a LoRA, then the Q-Former; one item becomes 8 vectors."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, cast

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer, LoraModel
from PIL import Image
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from comem_memory.config import EncoderConfig, EncoderFingerprint, LoraSettings, QFormerConfig
from comem_memory.encoder.qformer import QFormer
from comem_memory.errors import AdapterError
from comem_memory.model.backbone import Backbone
from comem_memory.model.fingerprint import quantization_of
from comem_memory.model.prompts import PROMPT_VERSION, ModelInputs

CONFIG_FILE, QFORMER_FILE, LORA_FILE = "config.json", "qformer.safetensors", "adapter_model.safetensors"
FINGERPRINT_FILE = "fingerprint.json"
ADAPTER_FILES = (CONFIG_FILE, FINGERPRINT_FILE, LORA_FILE, QFORMER_FILE)
MAX_LENGTH = 2048
"""Longest item in tokens, unless the encoder is made for another."""
BATCH_TOKENS = 8192
"""Of a forward pass, padding included: an fp32 LoRA beside a bf16 model of 7B parameters takes about 0.3 MB a token."""
Weights = dict[str, torch.Tensor]


class ParameterCount(NamedTuple):
    trainable: int
    total: int

    def __str__(self) -> str:
        return f"{self.trainable:,} of {self.total:,} parameters are trained ({self.trainable / self.total:.2%})"


class EncoderInputs(NamedTuple):
    """One item as the encoder reads it."""

    tensors: ModelInputs
    truncated: bool
    """Whether the end of the text did not fit and was left out."""


class MemoryEncoder(nn.Module):
    """Encodes items with the backbone's own weights, a LoRA and a Q-Former (arXiv 2505.17670, section 3).

    There is one copy of the base model. Its LoRA is on only inside `encode` and `forward`; at any other time the
    backbone is the bare model. (The authors keep two copies, and their LoRA also lands in the "frozen" one.)

    Args:
        backbone: the frozen model; its Linear layers get LoRA layers beside them.
        config: what is trained; see `create` and `from_pretrained`.
    """

    def __init__(self, backbone: Backbone, config: EncoderConfig) -> None:
        super().__init__()
        if any(isinstance(module, LoraLayer) for module in backbone.model.modules()):
            raise AdapterError(
                f"{backbone.name} already carries a memory encoder. Load the model again for a second one."
            )
        if any(hasattr(module, "qweight") for module in backbone.model.modules()):
            raise AdapterError(
                f"{backbone.name} was published quantised in a format whose layers take no LoRA (AWQ, GPTQ). Load the "
                "unquantised model with a BitsAndBytesConfig: docs/PRECISION.md."
            )
        self.backbone = backbone
        self.encoder_config = config
        lora = LoraConfig(**config.lora.model_dump(), target_modules=linear_names(backbone.model))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks for what transformers has renamed
            self.peft = get_peft_model(backbone.model, lora)
        self.peft.peft_config["default"].base_model_name_or_path = config.base_model  # not where it was loaded from
        for module in self.peft.modules():
            if isinstance(module, LoraLayer):
                _keep_in_memory(module)
        self.qformer = QFormer(config.qformer).to(backbone.device)
        self._layers: list[nn.Module] = []  # that recompute
        self._rest()
        self.eval()

    @classmethod
    def create(
        cls,
        backbone: Backbone,
        *,
        num_query_tokens: int = 8,
        num_attention_heads: int = 16,
        lora: LoraSettings | None = None,
        max_length: int = MAX_LENGTH,
    ) -> MemoryEncoder:
        """An untrained encoder: LoRA at zero effect, Q-Former at its identity start."""
        qformer = QFormerConfig(
            hidden_size=backbone.hidden_size,
            num_attention_heads=num_attention_heads,
            num_query_tokens=num_query_tokens,
        )
        config = encoder_config(backbone, backbone.fingerprint(), qformer, lora or LoraSettings(), max_length)
        encoder = cls(backbone, config)
        embeddings = backbone.token_embeddings.float()
        encoder.qformer.init_identity(embeddings.mean(0), embeddings.std(0))
        return encoder

    # -- encoding -----------------------------------------------------------------------------------------------

    def forward(self, batch: ModelInputs) -> torch.Tensor:
        """Memory embeddings of a batch made by `backbone.batch`.

        Shapes:
            batch: tensors of shape (B, T) and the pictures of the batch.
            output: (B, Q, H), of the Q-Former's dtype.
        """
        queries = self.qformer.query_tokens  # on the first device, when the model is spread over several
        return self.qformer(self.hidden_states(batch).to(queries), batch["attention_mask"])

    def hidden_states(self, batch: ModelInputs) -> torch.Tensor:
        """What the Q-Former reads: the adapted model's last hidden states, (B, T, H)."""
        with self._adapter_on():
            return self.backbone.hidden_states(batch)

    def inputs(
        self, text: str | None = None, image: Image.Image | None = None, *, truncate: bool = False
    ) -> EncoderInputs:
        """Lays out one item for `encode`.

        Args:
            text, image: either or both.
            truncate: cut a text that is too long, and say so in the result.

        Raises:
            ItemTooLongError: the item exceeds `encoder_config.max_length` tokens, and not `truncate`.
            InvalidItemError: a picture for a model that takes none.
        """
        laid_out = self.backbone.prompts.encoder_inputs(
            text, image, max_length=self.encoder_config.max_length, truncate=truncate
        )
        return EncoderInputs(*laid_out)

    def encode(self, items: Sequence[EncoderInputs], *, batch_size: int = 16) -> torch.Tensor:
        """Memory embeddings of items, sorted by length into padded batches, of long ones fewer.

        Args:
            items: from `inputs`.
            batch_size: at most so many items per forward pass, and `BATCH_TOKENS` tokens.

        Returns:
            (N, Q, H), float32, on the CPU, in the order given.

        Raises:
            ValueError: batch_size below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}. Encode at least 1 item at a time.")
        config = self.encoder_config.qformer
        encoded = torch.empty(len(items), config.num_query_tokens, config.hidden_size)
        lengths = [item.tensors["input_ids"].shape[1] for item in items]
        order = sorted(range(len(items)), key=lengths.__getitem__)
        while order:
            size = max(1, min(batch_size, BATCH_TOKENS // lengths[order[-1]]))
            order, chosen = order[:-size], order[-size:]
            with self.backbone.lock, torch.inference_mode():
                encoded[chosen] = self(self.backbone.batch([items[i].tensors for i in chosen])).float().cpu()
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
        """Adapter off, so that the backbone is the bare model; LoRA stays trainable, which peft would undo."""
        self._is_on = False
        self._lora.disable_adapter_layers()
        self.peft.eval()
        for layer in self._layers:
            layer.training = self.training  # the layer itself, which then recomputes; nothing in it drops out
        for name, parameter in self.peft.named_parameters():
            parameter.requires_grad_("lora_" in name)

    def gradient_checkpointing_enable(self) -> None:
        """In training, keeps only every layer's input and computes the rest again in the backward pass.

        What is computed again finds the LoRA as it was: on in the encoder, off in the frozen model that answers.
        """
        model = self.backbone.model
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False, "context_fn": self._recomputing})
        self._layers = [m for m in model.modules() if getattr(m, "gradient_checkpointing", False)]

    def _recomputing(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), self._adapter_on() if self._is_on else nullcontext()

    # -- parameters ---------------------------------------------------------------------------------------------

    def num_parameters(self) -> ParameterCount:
        """Trained parameters (LoRA and Q-Former) and all of them; print it for the share."""
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return ParameterCount(trainable, sum(p.numel() for p in self.parameters()))

    @property
    def fingerprint(self) -> EncoderFingerprint:
        """Which encoder this is; computed from the weights as they are now."""
        found = self._fingerprint_of(self._lora_weights(), self.qformer.state_dict())
        return found.model_copy(update={"quantization": quantization_of(self.backbone.model)})

    def _fingerprint_of(self, lora: Weights, qformer: Weights) -> EncoderFingerprint:
        """Of these adapter weights on the base model, not quantised, since an adapter fits any load of it."""
        config = self.encoder_config
        settings = f"{config.lora.lora_alpha} {config.qformer.num_attention_heads} {config.qformer.depth}"
        settings += "".join(f" {module} {alpha}" for module, alpha in sorted(config.lora.alpha_pattern.items()))
        weights = lora | {f"qformer.{name}": weight for name, weight in qformer.items()}
        return EncoderFingerprint(
            base_model=config.base_model,
            base_revision=config.base_revision,
            base_fingerprint=config.base_fingerprint,
            adapter_hash=_hash(weights, settings),
            prompt_version=config.prompt_version,
            num_query_tokens=config.qformer.num_query_tokens,
            hidden_size=config.qformer.hidden_size,
        )

    def _lora_weights(self) -> Weights:
        return dict(get_peft_model_state_dict(self.peft, save_embedding_layers=False))

    # -- files --------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Writes LoRA (peft format), Q-Former (safetensors), `config.json` and `fingerprint.json`.

        Args:
            folder: made if missing.
            dtype: round the weights to this dtype, by default as they are.
        """

        def stored(weights: Weights) -> Weights:
            return {name: w.detach().to(dtype or w.dtype).cpu().contiguous() for name, w in weights.items()}

        write_adapter(self, folder, stored(self._lora_weights()), stored(self.qformer.state_dict()))

    @classmethod
    def from_pretrained(cls, folder: str | Path, backbone: Backbone) -> MemoryEncoder:
        """Loads an adapter folder onto its base model.

        Args:
            folder: what `save_pretrained` wrote.
            backbone: the base model that it was trained on.

        Raises:
            AdapterError: the folder is incomplete, belongs to another base model or encoder prompt, or a weight is
                missing, unexpected, of another shape or not the one that was saved.
        """
        folder = Path(folder)
        encoder = cls(backbone, fitting_config(folder, backbone))
        try:
            load_weights(encoder, folder)
            _check_fingerprint(encoder, folder)
        except AdapterError:
            encoder._lora.unload()  # the backbone stays free for another adapter
            raise
        return encoder


def fitting_config(folder: Path, backbone: Backbone) -> EncoderConfig:
    """The settings of an adapter folder that was trained on this base model.

    Raises:
        AdapterError: it was trained on another, or with another encoder prompt; or as in `read_config`.
    """
    config = read_config(folder)
    if backbone.hidden_size != config.qformer.hidden_size:
        raise AdapterError(
            f"Adapter {folder} was trained for hidden_size {config.qformer.hidden_size}, but {backbone.name} has "
            f"{backbone.hidden_size}. Load it with {config.base_model}, or train an adapter for this model."
        )
    if config.prompt_version != PROMPT_VERSION:
        raise AdapterError(
            f"Adapter {folder} was trained with encoder prompt {config.prompt_version}, but this library uses "
            f"{PROMPT_VERSION}. Install comem-memory {config.library_version}, which made it, or train again."
        )
    if (found := backbone.fingerprint()) != config.base_fingerprint:
        raise AdapterError(
            f"Adapter {folder} was trained on {config.base_model} (fingerprint {config.base_fingerprint}), but "
            f"{backbone.name} has other weights (fingerprint {found}). Load it with {config.base_model}, or train "
            "an adapter for this model."
        )
    return config


def encoder_config(
    backbone: Backbone,
    base_fingerprint: str,
    qformer: QFormerConfig,
    lora: LoraSettings,
    max_length: int = MAX_LENGTH,
) -> EncoderConfig:
    """The settings of a new encoder on this base model, made by this version of the library."""
    return EncoderConfig(
        base_model=backbone.name,
        base_revision=backbone.revision,
        base_fingerprint=base_fingerprint,
        prompt_version=PROMPT_VERSION,
        max_length=min(max_length, backbone.max_length),
        qformer=qformer,
        lora=lora,
        library_version=version("comem-memory"),
    )


def load_weights(encoder: MemoryEncoder, folder: Path, *, resize: bool = False) -> None:
    """Replaces an encoder's trained weights by those of an adapter folder.

    Args:
        encoder: whose.
        folder: the adapter's, or a checkpoint's.
        resize: where the folder's encoder makes another number of vectors, interpolate its query tokens in their
            order, as position embeddings of vision transformers are.

    Raises:
        AdapterError: a weight is missing, unexpected or of another shape.
    """
    lora, qformer = read_weights(encoder, folder, resize=resize)
    set_peft_model_state_dict(encoder.peft, lora)
    encoder.qformer.load_state_dict(qformer)


def read_weights(encoder: MemoryEncoder, folder: Path, *, resize: bool = False) -> tuple[Weights, Weights]:
    """LoRA and Q-Former weights of an adapter folder that fit the encoder, which may be on the meta device.

    `resize` as in `load_weights`.

    Raises:
        AdapterError: a weight is missing, unexpected or of another shape.
    """
    lora, qformer = load_weights_file(folder / LORA_FILE), load_weights_file(folder / QFORMER_FILE)
    if resize and (tokens := qformer.get("query_tokens")) is not None:  # (1, Q, H)
        number = encoder.encoder_config.qformer.num_query_tokens
        qformer["query_tokens"] = nn.functional.interpolate(tokens.mT.float(), size=number, mode="linear").mT
    _check_weights(folder / LORA_FILE, lora, encoder._lora_weights())
    _check_weights(folder / QFORMER_FILE, qformer, encoder.qformer.state_dict())
    return lora, qformer


def write_adapter(encoder: MemoryEncoder, folder: str | Path, lora: Weights, qformer: Weights) -> None:
    """Writes an adapter folder with the encoder's settings and the weights given, on the CPU and contiguous."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    encoder.peft.peft_config["default"].save_pretrained(str(folder))
    save_file(lora, folder / LORA_FILE, metadata={"format": "pt"})
    save_file(qformer, folder / QFORMER_FILE, metadata={"format": "pt"})
    fingerprint = encoder._fingerprint_of(lora, qformer)
    (folder / FINGERPRINT_FILE).write_text(fingerprint.model_dump_json(indent=2) + "\n")
    (folder / CONFIG_FILE).write_text(encoder.encoder_config.model_dump_json(indent=2) + "\n")


def read_config(folder: Path) -> EncoderConfig:
    """The settings of an adapter folder, after checking that its files are all there.

    Raises:
        AdapterError: a file is missing, or `config.json` is not one of ours.
    """
    missing = [name for name in ADAPTER_FILES if not (folder / name).is_file()]
    if missing:
        raise AdapterError(
            f"Adapter folder {folder} lacks {', '.join(missing)}. Pass one written by MemoryEncoder.save_pretrained."
        )
    try:
        return EncoderConfig.model_validate_json((folder / CONFIG_FILE).read_bytes())
    except ValidationError as error:
        raise AdapterError(
            f"{folder / CONFIG_FILE} cannot be read by comem-memory {version('comem-memory')}: {error}. "
            "It may come from a newer version: try pip install --upgrade comem-memory."
        ) from error


def _keep_in_memory(layer: LoraLayer) -> None:
    """Gives a LoRA its own weights where accelerate fetches those beside it from disk or RAM each time."""
    hook = getattr(layer.get_base_layer(), "_hf_hook", None)
    if hook is not None and layer.lora_A["default"].weight.is_meta:
        layer.lora_A.to_empty(device=hook.execution_device)
        layer.lora_B.to_empty(device=hook.execution_device)
        layer.reset_lora_parameters("default", init_lora_weights=True)


def linear_names(model: PreTrainedModel) -> list[str]:
    """Every Linear of language model, vision tower and projector, as the authors adapt them; not the output head."""
    head = model.get_output_embeddings()
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]


def _check_fingerprint(encoder: MemoryEncoder, folder: Path) -> None:
    try:
        saved = EncoderFingerprint.model_validate_json((folder / FINGERPRINT_FILE).read_bytes())
    except ValidationError as error:
        raise AdapterError(
            f"{folder / FINGERPRINT_FILE} is damaged: {error}. Copy or save the adapter again."
        ) from error
    found = encoder.fingerprint.model_copy(update={"quantization": None})  # an adapter fits any load of its base
    if found.digest != saved.digest:
        raise AdapterError(
            f"The weights in {folder} are not those that were saved: they make {found}, not {saved}. "
            "Copy or save the adapter again."
        )


def load_weights_file(file: Path) -> Weights:
    """Reads a safetensors file of an adapter; a damaged one is an AdapterError."""
    try:
        return load_file(file)
    except SafetensorError as error:
        raise AdapterError(f"{file} is damaged: {error}. Copy or save the adapter again.") from error


def _check_weights(file: Path, loaded: Weights, expected: Weights) -> None:
    missing, unexpected = sorted(expected.keys() - loaded.keys()), sorted(loaded.keys() - expected.keys())
    misshapen = sorted(n for n in expected.keys() & loaded.keys() if expected[n].shape != loaded[n].shape)
    for problem, names in (("lacks", missing), ("has unexpected", unexpected), ("has a wrong shape for", misshapen)):
        if names:
            raise AdapterError(
                f"{file} {problem} {len(names)} weights, first {names[0]!r}. The file is damaged or of another model: "
                "save the adapter again, or load the base model it belongs to."
            )


def _hash(weights: Weights, settings: str) -> str:
    digest = hashlib.sha256(settings.encode())
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
