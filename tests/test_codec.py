"""Blocks: what each precision keeps, that base85 is the standard one, and that damage is never decoded."""

import base64
import struct
import time
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from comem_memory.errors import CorruptBlockError
from comem_memory.store import PRECISIONS, Precision, decode_block, encode_block
from comem_memory.store.codec import b85decode, b85encode


def vectors(q: int = 8, h: int = 48, *, seed: int = 0) -> torch.Tensor:
    """(q, h) with magnitudes from 1e-3 to 1e3, as outlier dimensions of language models have them."""
    generator = torch.Generator().manual_seed(seed)
    scale = 10 ** torch.linspace(-3, 3, q)[:, None]
    return torch.randn(q, h, generator=generator) * scale


def reseal(block: str, change: dict[int, int]) -> str:
    """The block with some header bytes changed and a checksum that fits again."""
    data = bytearray(base64.b85decode(block))
    for position, value in change.items():
        data[position] = value
    data[12:16] = struct.pack(">I", zlib.crc32(data[16:], zlib.crc32(data[:12])))
    return base64.b85encode(bytes(data)).decode()


def test_fp32_is_exact():
    x = vectors()
    assert torch.equal(decode_block(encode_block(x, "fp32"), item_id="a"), x)


def test_bf16_is_exact_for_what_bfloat16_holds():
    x = vectors()
    back = decode_block(encode_block(x, "bf16"), item_id="a")
    assert back.dtype == torch.float32
    assert torch.equal(back, x.bfloat16().float())
    assert torch.equal(decode_block(encode_block(x.bfloat16(), "bf16"), item_id="a"), back)


@pytest.mark.parametrize(("precision", "group", "most"), [("int8", 10_000, 127), ("int4", 64, 7)])
@settings(max_examples=50, deadline=None)
@given(
    q=st.integers(1, 9),
    h=st.integers(1, 200),
    seed=st.integers(0, 10_000),
    magnitude=st.sampled_from([1e-30, 1e-6, 1.0, 1e6, 1e38]),
)
def test_integers_are_within_half_a_step_of_what_shares_their_scale(
    precision: Precision, group: int, most: int, q: int, h: int, seed: int, magnitude: float
):
    """int8: the whole vector; int4: 64 dimensions of it."""
    x = torch.rand(q, h, generator=torch.Generator().manual_seed(seed)).mul(2).sub(1) * magnitude
    back = decode_block(encode_block(x, precision), item_id="a")
    for part, read in zip(x.split(group, dim=1), back.split(group, dim=1), strict=True):
        half_step = part.double().abs().amax(1, keepdim=True) / most / 2
        assert ((part.double() - read.double()).abs() <= half_step * (1 + 1e-4)).all()


def test_int4_takes_half_of_int8_and_is_laid_out_as_documented():
    x = torch.zeros(1, 66)
    x[0, :3] = torch.tensor([7.0, -7.0, 3.0])
    x[0, 65] = -14.0
    payload = base64.b85decode(encode_block(x, "int4"))[16:]
    assert np.frombuffer(payload, "<f4", count=2).tolist() == [1.0, 2.0]
    assert payload[8:10] == bytes([15 | 1 << 4, 11 | 8 << 4])
    assert payload[8 + 32] == 8 | 1 << 4
    long = vectors(8, 3584)
    assert len(base64.b85decode(encode_block(long, "int4"))) - 16 == 16_128
    assert len(encode_block(long, "int4")) < 0.57 * len(encode_block(long, "int8"))


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_zero_vectors_and_negative_extremes_survive(precision: Precision):
    x = torch.tensor([[0.0, 0.0, 0.0], [-2.0, 1.0, 2.0]])
    back = decode_block(encode_block(x, precision), item_id="a")
    assert torch.equal(back[0], x[0])
    torch.testing.assert_close(back[1, 0], x[1, 0])


def test_a_block_is_a_string_of_its_own_and_keeps_the_shape():
    x = vectors(3, 7)
    for precision in PRECISIONS:
        block = encode_block(x.requires_grad_(), precision)
        assert block.isascii() and block.isprintable()
        assert tuple(decode_block(block, item_id="a").shape) == (3, 7)
    assert encode_block(x, "int8") == encode_block(x, "int8")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=70))
def test_base85_is_that_of_the_standard_library(data: bytes):
    text = base64.b85encode(data).decode()
    assert b85encode(data) == text
    assert b85decode(text) == data


@pytest.mark.parametrize("x", [torch.zeros(8), torch.zeros(1, 8, 4), torch.zeros(0, 4), torch.zeros(8, 0)])
def test_only_the_vectors_of_one_item_are_packed(x: torch.Tensor):
    with pytest.raises(ValueError, match="shape"):
        encode_block(x, "fp32")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3.3e38])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_values_that_cannot_be_kept_are_refused(bad: float, precision: Precision):
    x = vectors()
    x[2, 3] = bad
    with pytest.raises(ValueError, match="not finite"):
        encode_block(x, precision)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="fp32, bf16, int8"):
        encode_block(vectors(), "fp8")  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_damaged_character_goes_unnoticed(precision: Precision):
    x = vectors(2, 5)
    block = encode_block(x, precision)
    for position in range(len(block)):
        for other in ("0", "~", " ", "é"):
            damaged = block[:position] + other + block[position + 1 :]
            if damaged != block:
                with pytest.raises(CorruptBlockError, match="'door-7'"):
                    decode_block(damaged, item_id="door-7")


def test_no_truncation_or_extension_goes_unnoticed():
    block = encode_block(vectors(2, 5), "int8")
    for damaged in [block[:length] for length in range(len(block))] + [
        block + "0",
        block + "00000",
        block[5:],
    ]:
        with pytest.raises(CorruptBlockError, match="add it again"):
            decode_block(damaged, item_id="a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: ord("X")}, "does not begin with the header"),
        ({4: 2}, "format version 2"),
        ({5: 9}, "precision 9"),
        ({7: 3}, "bytes of payload where int8"),
        ({11: 6}, "bytes of payload where int8"),
    ],
)
def test_a_header_with_a_right_checksum_is_still_checked(change: dict[int, int], message: str):
    block = reseal(encode_block(vectors(2, 5), "int8"), change)
    with pytest.raises(CorruptBlockError, match=message):
        decode_block(block, item_id="a")


def test_ten_blocks_of_a_large_model_decode_in_no_time():
    blocks = [encode_block(vectors(8, 3584, seed=seed), "int8") for seed in range(10)]
    durations = []
    for _ in range(20):
        start = time.perf_counter()
        for block in blocks:
            decode_block(block, item_id="a")
        durations.append(time.perf_counter() - start)
    assert np.min(durations) < 0.005
