"""What a model makes of positions rounded to bfloat16, which skip numbers above 256: `python benchmarks/positions.py`.

The authors' code rounds them in a bfloat16 run. Beside it stands what computing in bfloat16 does, with the same
weights, which are rounded once. Tokens are random, or with `--text` those of a file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from comem_memory.encoder import MemoryEncoder
from comem_memory.opening import load_encoder
from comem_memory.testing import tiny_backbone, tiny_encoder

LENGTHS = (300, 1000, 4000)


class Read(NamedTuple):
    """What a model makes of a text of T tokens."""

    hidden: torch.Tensor
    """Last hidden states, (T, H)."""
    vectors: torch.Tensor
    """What the Q-Former makes of them, (Q, H)."""
    next: torch.Tensor
    """The likeliest next token after each, (T,)."""
    loss: float
    """Of the text's own next tokens, in nats a token."""


@torch.inference_mode()
def read(encoder: MemoryEncoder, ids: torch.Tensor, dtype: torch.dtype, *, rounded: bool) -> Read:
    model = encoder.backbone.model.to(dtype)
    positions = torch.arange(len(ids))
    if rounded:
        positions = positions.bfloat16().long()
    embeddings = model.get_input_embeddings()(ids)[None]
    hidden = model.get_decoder()(inputs_embeds=embeddings, position_ids=positions[None]).last_hidden_state
    vectors = encoder.qformer(hidden.float(), torch.ones(1, len(ids)))
    logits = model.get_output_embeddings()(hidden)[0].float()
    loss = torch.nn.functional.cross_entropy(logits[:-1], ids[1:])
    return Read(hidden[0].float(), vectors[0].float(), logits.argmax(-1), float(loss))


def change(new: torch.Tensor, old: torch.Tensor) -> str:
    """Norm of the difference over the norm of the original."""
    return f"{float((new - old).norm() / old.norm()):.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--embedded", action="store_true", help="the embedded model, instead of a tiny random Qwen2.5-VL"
    )
    parser.add_argument("--text", type=Path, help="a file whose tokens are read")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="in tokens")
    options = parser.parse_args()
    encoder = load_encoder(None, None, {}) if options.embedded else tiny_encoder(tiny_backbone("qwen2_5_vl"))
    encoder.backbone.model.bfloat16()
    table = Table("tokens", "what is changed", "hidden states", "vectors", "next tokens", "loss")
    for length in options.lengths:
        if options.text is None:
            most = len(encoder.backbone.token_embeddings)
            ids = torch.randint(most, (length,), generator=torch.Generator().manual_seed(0))
        else:
            ids = torch.tensor(encoder.prompts.text_ids(options.text.read_text(encoding="utf-8"))[:length])
        exact, moved, low, low_moved = (
            read(encoder, ids, dtype, rounded=rounded)
            for dtype in (torch.float32, torch.bfloat16)
            for rounded in (False, True)
        )
        for name, new, old in (
            ("float32 to bfloat16", low, exact),
            ("rounded, in float32", moved, exact),
            ("rounded, in bfloat16", low_moved, low),
        ):
            others = f"{float((new.next != old.next).float().mean()):.2%}"
            changes = change(new.hidden, old.hidden), change(new.vectors, old.vectors), others
            table.add_row(str(len(ids)), name, *changes, f"{old.loss:.3f} to {new.loss:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
