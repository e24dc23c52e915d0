"""Which sequences go through the model together, so that little of a forward pass is padding."""

from __future__ import annotations

from collections.abc import Sequence

ENOUGH = {"cpu": 256, "cuda": 8192}
"""Tokens of a forward pass that keep a machine as busy as more would: on a CPU `benchmarks/training.py` measured it."""
PADDING = 0.05
"""Share of a forward pass, at most, where it has enough tokens without."""


def forward_passes(lengths: Sequence[int], device: str, *, most_tokens: int | None = None) -> list[list[int]]:
    """Divides sequences into groups of similar length, the longest first.

    Args:
        lengths: Tokens of each sequence.
        device: The type of the device that they go through, such as "cpu".
        most_tokens: Most tokens of a group, padding included, unless it is a single sequence.

    Returns:
        The numbers of each group's sequences.
    """
    enough = ENOUGH.get(device, ENOUGH["cuda"])
    groups: list[list[int]] = []
    longest = tokens = 0
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        length = lengths[number]
        places = longest * (len(groups[-1]) + 1) if groups else 0
        is_full = most_tokens is not None and places > most_tokens
        if not groups or is_full or (tokens >= enough and tokens + length < (1 - PADDING) * places):
            groups.append([])
            longest, tokens = length, 0
        groups[-1].append(number)
        tokens += length
    return groups
