"""What a conversion found: written as `convert.json` beside the adapter, and shown as a short table."""

from __future__ import annotations

from typing import Literal

from rich.console import Group
from rich.table import Table

from comem_memory.config import LoraSettings, Settings
from comem_memory.convert.lowrank import Quality

FrozenWeights = Literal["base", "from-checkpoint", "apart"]
"""Which weights answer beside a converted encoder, and which its LoRA is taken relative to: for both the published ones
of the base model; for both the checkpoint's own, `model_inf`, which the authors' training code may have changed; or the
base model's for the encoder and the checkpoint's own, as a second model, for answers."""
ROWS = 10
"""Matrices and tensors that the table shows, the worst first; `convert.json` has all of them."""
TOO_SMALL = 0.1
"""Rounding error from which an update counts as too small for the checkpoint's dtype."""


class MatrixReport(Quality):
    """How well the update of one matrix was recovered."""

    name: str
    shape: tuple[int, int]
    rank: int
    """How many singular values stand above the rounding noise. The adapter has the largest of these ranks for all
    matrices; an exact adapter has the full rank of each."""

    @property
    def is_too_small(self) -> bool:
        """Whether rounding must have changed the update by more than `TOO_SMALL`."""
        return self.rounding_error > TOO_SMALL


class TensorDifference(Settings):
    """A tensor that differs from the one it is compared with."""

    name: str
    relative_difference: float
    """Norm of the difference over the norm of what it is compared with."""


class ConversionReport(Settings):
    """What was converted, how well, and what the adapter cannot hold."""

    checkpoint: str
    base_model: str
    frozen: FrozenWeights
    frozen_model: str
    """The model that the adapter belongs to: load it with this one."""
    answering_model: str | None = None
    """A second model that answers, which is loaded with the adapter whose folder it is in, if there is one."""
    exact: bool
    """Whether the updates were kept whole."""
    dtype: str
    """The dtype of the checkpoint's encoder."""
    lora: LoraSettings
    matrices: list[MatrixReport]
    frozen_differences: list[TensorDifference]
    """Tensors of `model_inf` that are not the base model's."""
    lost: list[TensorDifference]
    """Tensors of the encoder that get no LoRA and are not the frozen model's: the adapter cannot hold them."""
    resumed: int
    """How many tensors an interrupted run had already done."""

    @property
    def findings(self) -> list[str]:
        """What the user should know, in one or two sentences each."""
        changed = [matrix for matrix in self.matrices if matrix.relative_update]
        small = [matrix for matrix in changed if matrix.is_too_small]
        gaps = [matrix.gap for matrix in changed if matrix.gap is not None]
        found = [
            f"Updates kept whole in {len(changed)} of {len(self.matrices)} matrices."
            if self.exact
            else f"LoRA of rank {self.lora.r} recovered in {len(changed)} of {len(self.matrices)} matrices"
            + (f"; smallest singular-value gap at this rank {min(gaps):.3g}." if gaps else ".")
        ]
        if small:
            worst = max(small, key=lambda matrix: matrix.rounding_error)
            found.append(
                f"{len(small)} updates are too small for {self.dtype} to carry: rounding must have changed them by "
                f"more than {TOO_SMALL:.0%}, worst {worst.name} by about {worst.rounding_error:.0%} (its update is "
                f"{worst.relative_update:.2%} of the matrix). A checkpoint saved in float32 would be recovered."
            )
        if self.frozen_differences:
            found.append(
                f"model_inf is not the base model: {len(self.frozen_differences)} tensors differ, "
                f"{self.frozen_differences[0].name} most, by {self.frozen_differences[0].relative_difference:.2%}. "
                + (
                    "The encoder was trained for model_inf's weights, but the base model's published ones will answer. "
                    "Convert with --frozen from-checkpoint to answer with model_inf."
                    if self.frozen == "base"
                    else f"It answers, from {self.frozen_model}; the published base model does not fit this adapter."
                    if self.frozen == "from-checkpoint"
                    else f"It answers, from {self.answering_model}, and the base model only encodes."
                )
            )
        else:
            found.append("model_inf is the base model, as it should be.")
        if self.lost:
            found.append(
                f"{len(self.lost)} tensors of the encoder outside the LoRA differ from the frozen model and are lost, "
                f"{self.lost[0].name} most, by {self.lost[0].relative_difference:.2%}: vectors will differ from the "
                "authors'."
            )
        return found

    def as_table(self) -> Group:
        """The findings, the matrices that came out worst, and the tensors of `model_inf` that differ most."""
        matrices = Table("worst matrices", "rank", "update / weight", "gap", "left out", "rounding error")
        for matrix in sorted(self.matrices, key=lambda m: (-m.rounding_error, -m.relative_error))[:ROWS]:
            matrices.add_row(
                matrix.name,
                str(matrix.rank),
                f"{matrix.relative_update:.3%}",
                "" if matrix.gap is None else f"{matrix.gap:.3g}",
                f"{matrix.relative_error:.2%}",
                f"{matrix.rounding_error:.2%}" + (" too small" if matrix.is_too_small else ""),
            )
        shown: list[Table | str] = [matrices]
        for title, differences in (("model_inf, not the base's", self.frozen_differences), ("lost", self.lost)):
            if differences:
                table = Table(title, "relative difference")
                for difference in differences[:ROWS]:
                    table.add_row(difference.name, f"{difference.relative_difference:.3%}")
                shown.append(table)
        return Group(*shown, *self.findings)
