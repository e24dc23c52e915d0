"""(Q, H) memory embeddings <-> one printable string, which Chroma keeps in a record's metadata.

Legend: Q query tokens, H hidden size. A block is base85 (alphabet of `base64.b85encode`) of a 16-byte header,
big-endian, and a payload, little-endian:

| bytes | header field |
|---|---|
| 0-3 | `CMEM` |
| 4 | format version |
| 5 | precision: index in `PRECISIONS` |
| 6-7 | Q |
| 8-11 | H |
| 12-15 | CRC-32 of header bytes 0-11 and payload |

| precision | payload | bytes at (8, 3584) | x' read for x |
|---|---|---|---|
| `fp32` | Q * H float32 | 114 688 | equal |
| `bf16` | Q * H bfloat16 | 57 344 | `x.bfloat16().float()` |
| `int8` | Q float32 scales, Q * H int8 | 28 704 | abs(x - x') <= scale / 2; scale = absmax / 127 |
| `int4` | Q * G float32 scales, Q * G * 32 bytes of two values each | 16 128 | the same with scale = absmax / 7 |

int8 has one scale per vector. int4 has one for each of its G = ceil(H / 64) groups of 64 dimensions, so that an outlier
spoils only its own; the first value of a byte is in its low half, both are stored plus 8, and the last group is filled
with zeros.

The string is a quarter longer than header and payload.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from comem_memory.errors import CorruptBlockError

if TYPE_CHECKING:
    import torch  # which those functions import that need it: counting items does not

Precision = Literal["fp32", "bf16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FORMAT_VERSION = 1

_MAGIC = b"CMEM"
_FIELDS = struct.Struct(">4sBBHI")
_CHECKSUM = struct.Struct(">I")
_HEADER_SIZE = _FIELDS.size + _CHECKSUM.size
_GROUP = 64
"""Dimensions that share a scale in int4."""
_MOST = {"int8": 127, "int4": 7}
"""Largest step."""
_LARGEST = 3e38  # beyond it, rounding to bfloat16 or to a scale may overflow to infinity

_ALPHABET = np.frombuffer(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~", np.uint8
)
_INVALID = 255
_DIGITS = np.full(256, _INVALID, np.uint8)
_DIGITS[_ALPHABET] = np.arange(85, dtype=np.uint8)
_POWERS = 85 ** np.arange(4, -1, -1, dtype=np.uint64)


def encode_block(memory_embeddings: torch.Tensor, precision: Precision) -> str:
    """Pack one item's vectors into a string.

    Args:
        memory_embeddings: (Q, H), any float dtype, any device.
        precision: One of `PRECISIONS`; the table above says what each keeps.

    Raises:
        ValueError: Not two axes, empty, a value that is not finite or beyond 3e38, or an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}. Use one of {', '.join(PRECISIONS)}.")
    shape = tuple(memory_embeddings.shape)
    if len(shape) != 2 or 0 in shape or shape[0] > 0xFFFF:
        raise ValueError(f"memory_embeddings have shape {shape}. Pass the (Q, H) vectors of one item.")
    vectors = memory_embeddings.detach().float().cpu()
    if not bool((vectors.abs() <= _LARGEST).all()):  # false for NaN as well
        raise ValueError(
            f"memory_embeddings {shape} hold a value that is not finite or beyond {_LARGEST:g}. "
            "Check the encoder's weights and dtype; such an item cannot be stored."
        )
    return _block(_pack(vectors, precision), precision, shape[0], shape[1])


def decode_block(block: str, *, item_id: str) -> torch.Tensor:
    """Unpack what `encode_block` made; vectors come back right or not at all.

    Args:
        block: The stored string.
        item_id: Named in the error.

    Returns:
        (Q, H), float32, on the CPU.

    Raises:
        CorruptBlockError: Bad characters, wrong length, magic or checksum, or a format version unknown here.
    """
    try:
        return _unpack(*_opened(block))
    except ValueError as error:
        raise CorruptBlockError(
            f"The stored memory embeddings of item {item_id!r} cannot be read: {error}. "
            "Delete the item and add it again, or restore a backup; if a newer version wrote it, upgrade."
        ) from error


def int8_parts(block: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Scales (Q,) float32 and steps (Q, H) int8 of a block; `None` for another precision or what is no whole block."""
    try:
        payload, precision, q, h = _opened(block)
    except ValueError:
        return None
    if precision != "int8" or len(payload) != 4 * q + q * h:
        return None
    return np.frombuffer(payload, "<f4", count=q), np.frombuffer(payload, np.int8, offset=4 * q).reshape(q, h)


def int8_block(scales: np.ndarray, steps: np.ndarray) -> str:
    """The block whose `int8_parts` these are."""
    q, h = steps.shape
    return _block(scales.astype("<f4").tobytes() + steps.astype(np.int8).tobytes(), "int8", q, h)


def in_steps(values: np.ndarray, scales: np.ndarray, most: int) -> np.ndarray:
    """Values as whole multiples of scales that broadcast to them, none beyond `most`; zeros have scale 0."""
    return np.asarray(np.rint(values / np.where(scales == 0, np.float32(1), scales)).clip(-most, most))


def _opened(block: str) -> tuple[bytes, Precision, int, int]:
    """Payload, precision, Q and H; ValueError for what is no whole block."""
    data = b85decode(block)
    if len(data) < _HEADER_SIZE or not data.startswith(_MAGIC):
        raise ValueError("it does not begin with the header of a block")
    fields, payload = data[: _FIELDS.size], data[_HEADER_SIZE:]
    if _CHECKSUM.unpack_from(data, _FIELDS.size) != (_checksum(fields, payload),):
        raise ValueError("its checksum does not match its content")
    _, version, precision, q, h = _FIELDS.unpack(fields)
    if version != FORMAT_VERSION or precision >= len(PRECISIONS):
        raise ValueError(f"format version {version}, precision {precision} is unknown here (version {FORMAT_VERSION})")
    return payload, PRECISIONS[precision], q, h


def _block(payload: bytes, precision: Precision, q: int, h: int) -> str:
    fields = _FIELDS.pack(_MAGIC, FORMAT_VERSION, PRECISIONS.index(precision), q, h)
    return b85encode(fields + _CHECKSUM.pack(_checksum(fields, payload)) + payload)


def _checksum(fields: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(fields))


def _pack(vectors: torch.Tensor, precision: Precision) -> bytes:
    if precision == "fp32":
        return vectors.numpy().astype("<f4").tobytes()
    if precision == "bf16":
        import torch

        return vectors.bfloat16().view(torch.int16).numpy().astype("<i2").tobytes()
    groups = _groups(vectors.numpy(), precision)  # (Q, G, values)
    most = _MOST[precision]
    scales = (np.abs(groups).max(axis=-1, keepdims=True) / np.float32(most)).astype("<f4")
    steps = in_steps(groups, scales, most)
    if precision == "int8":
        return bytes(scales.tobytes() + steps.astype(np.int8).tobytes())
    halves = (steps + 8).astype(np.uint8)
    return bytes(scales.tobytes() + (halves[..., ::2] | halves[..., 1::2] << 4).tobytes())


def _unpack(payload: bytes, precision: Precision, q: int, h: int) -> torch.Tensor:
    """(Q, H) float32; ValueError when the payload does not have exactly the size that the header says."""
    import torch

    groups = -(-h // _GROUP)
    size = {
        "fp32": 4 * q * h,
        "bf16": 2 * q * h,
        "int8": 4 * q + q * h,
        "int4": (4 + _GROUP // 2) * q * groups,
    }[precision]
    if len(payload) != size:
        raise ValueError(f"{len(payload)} bytes of payload where {precision} of shape ({q}, {h}) has {size}")
    if precision == "fp32":
        return torch.from_numpy(np.frombuffer(payload, "<f4").reshape(q, h).astype(np.float32))
    if precision == "bf16":
        bits = np.frombuffer(payload, "<i2").reshape(q, h).astype(np.int16)
        return torch.from_numpy(bits).view(torch.bfloat16).float()
    if precision == "int8":
        scales = np.frombuffer(payload, "<f4", count=q).astype(np.float32)
        steps = np.frombuffer(payload, np.int8, offset=4 * q).reshape(q, h)
        return torch.from_numpy(steps * scales[:, None])
    scales = np.frombuffer(payload, "<f4", count=q * groups).astype(np.float32)
    halves = np.frombuffer(payload, np.uint8, offset=4 * q * groups).reshape(q * groups, -1)
    values = np.stack([halves & 15, halves >> 4], axis=-1).reshape(q * groups, _GROUP).astype(np.float32) - 8
    return torch.from_numpy(np.ascontiguousarray((values * scales[:, None]).reshape(q, -1)[:, :h]))


def _groups(vectors: np.ndarray, precision: Precision) -> np.ndarray:
    """(Q, G, values): what shares a scale. int8: the whole vector."""
    if precision == "int8":
        return vectors[:, None]
    q, h = vectors.shape
    return np.pad(vectors, ((0, 0), (0, -h % _GROUP))).reshape(q, -1, _GROUP)


# The functions of base64 walk through the characters in Python and take longer than the search they serve.


def b85encode(data: bytes) -> str:
    padding = -len(data) % 4
    words = np.frombuffer(data + bytes(padding), ">u4").astype(np.uint64)
    digits = words[:, None] // _POWERS % 85  # (words, 5)
    text = str(_ALPHABET[digits].tobytes(), "ascii")
    return text[: len(text) - padding]


def b85decode(text: str) -> bytes:
    """ValueError for a character outside the alphabet, or five characters beyond 32 bits."""
    padding = -len(text) % 5
    digits = _DIGITS[np.frombuffer(text.encode("ascii") + b"~" * padding, np.uint8)]
    if (digits == _INVALID).any():
        raise ValueError("it holds characters that base85 does not have")
    words = digits.reshape(-1, 5).astype(np.uint64) @ _POWERS
    if (words > 0xFFFFFFFF).any():
        raise ValueError("it holds characters that base85 cannot have in this order")
    data = words.astype(">u4").tobytes()
    return data[: len(data) - padding]
