"""int8 blocks as a collection keeps them: what differs from the mean of its items, compressed without loss.

The vectors of an encoder are alike: those of one query token differ between items by a fifth of their length. A
collection therefore keeps the mean vectors of its first items, its reference, and of each block the difference from it,
in steps of the block's own scale and modulo 256, which Huffman codes make short. What comes out is the block that went
in, character by character.

A packed block is base85 of a 22-byte head, big-endian (`CMED`, the reference's id in 8 bytes, Q in 2, H in 4, CRC-32 of
the block's text), Q float32 scales, and the steps' differences as a raw DEFLATE stream.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from comem_memory.store.codec import b85decode, b85encode, in_steps, int8_block, int8_parts

ENOUGH = 32
"""Blocks that a reference is the mean of. Of 8 or 32 texts it left others 0.46 or 0.43 of their bytes, of one 0.52."""

_HEAD = struct.Struct(">4s8sHII")
_MAGIC = b"CMED"
_PREFIX = b85encode(_MAGIC)
_MEMORY_LEVEL = 4  # of zlib: new Huffman codes every 1024 steps, since query tokens differ in how much items do


@dataclass(frozen=True)
class Reference:
    """The mean vectors of some items.

    Args:
        block: The vectors as an int8 block.
    """

    block: str
    id: str = field(init=False)
    vectors: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = int8_parts(self.block)
        if parts is None:
            raise ValueError("The block of a reference is damaged.")
        scales, steps = parts
        object.__setattr__(self, "vectors", steps * scales[:, None])  # (Q, H)
        object.__setattr__(self, "id", hashlib.sha256(self.block.encode()).hexdigest()[:16])

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a block has its vectors, once or, of an item in passages, for each of them."""
        q, h = self.vectors.shape
        return shape[0] % q == 0 and shape[1] == h

    def steps(self, scales: np.ndarray) -> np.ndarray:
        """(n * Q, H) uint8: the vectors in steps of other scales (n * Q,), modulo 256."""
        vectors = np.tile(self.vectors, (len(scales) // len(self.vectors), 1))
        return in_steps(vectors, scales[:, None], 127).astype(np.int8).view(np.uint8)


def mean_of(blocks: Sequence[str]) -> Reference | None:
    """The reference of blocks of one width, others left out; `None` if those are not `ENOUGH`.

    It has as many vectors as go into each block: those of an item, of which one in passages has several times as many.
    """
    parts = [found for found in map(int8_parts, blocks) if found is not None]
    parts = [(scales, steps) for scales, steps in parts if steps.shape[1] == parts[0][1].shape[1]]
    if len(parts) < ENOUGH:
        return None
    q = math.gcd(*(len(scales) for scales, _ in parts))
    vectors = [one for scales, steps in parts for one in np.split(steps * scales[:, None], len(scales) // q)]
    mean = np.stack(vectors).mean(axis=0, dtype=np.float64).astype(np.float32)
    scales = np.asarray(np.abs(mean).max(axis=1) / np.float32(127))
    return Reference(int8_block(scales, in_steps(mean, scales[:, None], 127)))


def pack(block: str, reference: Reference) -> str:
    """The shorter text that `unpack` makes this block of; the block itself where there is none."""
    parts = int8_parts(block)
    if parts is None or not reference.fits(parts[1].shape):
        return block
    scales, steps = parts
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, _MEMORY_LEVEL, zlib.Z_HUFFMAN_ONLY)
    stream = compressor.compress((steps.view(np.uint8) - reference.steps(scales)).tobytes()) + compressor.flush()
    head = _HEAD.pack(_MAGIC, bytes.fromhex(reference.id), *steps.shape, zlib.crc32(block.encode()))
    packed = b85encode(head + scales.tobytes() + stream)
    return packed if len(packed) < len(block) else block


def is_packed(text: str) -> bool:
    return text.startswith(_PREFIX)


def unpack(text: str, find: Callable[[str], Reference | None]) -> str:
    """The block that was packed; what is none, is damaged or lacks its reference is left as it is.

    `decode_block` then says which item it is that cannot be read.

    Args:
        text: What `pack` made.
        find: A reference by id.
    """
    if not is_packed(text):
        return text
    try:
        return _unpacked(text, find)
    except (ValueError, struct.error, zlib.error):
        return text


def _unpacked(packed: str, find: Callable[[str], Reference | None]) -> str:
    data = b85decode(packed)
    _, id, q, h, checksum = _HEAD.unpack_from(data)
    reference = find(id.hex())
    if reference is None or not reference.fits((q, h)):
        raise ValueError("its reference is missing")
    scales = np.frombuffer(data, "<f4", count=q, offset=_HEAD.size)
    stream = zlib.decompress(data[_HEAD.size + 4 * q :], -zlib.MAX_WBITS, q * h)
    differences = np.frombuffer(stream, np.uint8).reshape(q, h)
    block = int8_block(scales, (differences + reference.steps(scales)).view(np.int8))
    if zlib.crc32(block.encode()) != checksum:
        raise ValueError("its checksum does not match its content")
    return block
