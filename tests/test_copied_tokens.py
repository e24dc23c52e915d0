"""Which tokens vectors copy, and an encoder that copies."""

import json
from pathlib import Path

import pytest
import torch

from comem_memory.convert.export import export_checkpoint
from comem_memory.encoder import MemoryEncoder
from comem_memory.encoder.copied_tokens import CopiedTokens, copies
from comem_memory.errors import AdapterError
from comem_memory.testing import FAMILIES, Family, tiny_backbone, tiny_picture

EMPTY = 99


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ([20, 21, 22], [[20], [21], [22]]),
        ([20, 1, 21, 22], [[20], [21], [22]]),  # function tokens go first
        ([20, 1, 21, 2], [[20], [21], [2]]),  # the least frequent of them stay, in the text's order
        ([2, 20, 1], [[2], [20], [1]]),
        ([1, 1, 1, 1], [[1], [1], [1]]),
        ([20, 1, 21, 22, 23, 2, 24], [[20, 23], [21, 24], [22]]),  # more content than vectors: in turn
        ([20], [[20], [EMPTY], [EMPTY]]),
        ([], [[EMPTY], [EMPTY], [EMPTY]]),
    ],
)
def test_tokens_are_divided_among_the_vectors(text: list[int], copied: list[list[int]]):
    assert CopiedTokens([1, 2], vectors=3, empty=EMPTY).of(text) == copied


@pytest.mark.parametrize(
    ("vectors", "parts", "kept"),
    [
        (6, "the| fox| of| Ox|ford|.| Ox|ford", "the| fox| of| Ox|ford|."),  # all of a word
        (6, "Oxford| is| in| Ox|ford|shire|.", "Oxford| is| in| Ox|ford|shire|."),  # and no other that begins like it
        (4, " tax| 4|4|4|4| B|4| B", " tax| 4|4|4|4| B|4| B"),  # none of a number or a code
        (4, "one| two| one| two| three", "one| two| two| three"),  # until there is a vector for each
        (3, "one| two| one", "one| two| one"),
        (4, "Pago| Pago| is| in| the| sea| of| Pago", "Pago| Pago| is| in| the| sea| of"),  # a name that doubles it
    ],
)
def test_a_word_is_copied_once_where_vectors_are_few(vectors: int, parts: str, kept: str):
    spelled = sorted(set(parts.split("|")))
    text = [spelled.index(part) for part in parts.split("|")]
    copied = CopiedTokens([], vectors=vectors, empty=EMPTY, spell=spelled.__getitem__).of(text)
    deepest = max(map(len, copied))
    in_turn = [vector[depth] for depth in range(deepest) for vector in copied if depth < len(vector)]
    assert "|".join(spelled[token] for token in in_turn) == kept


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_begin_as_what_the_model_embeds(family: Family):
    """Its embedding module's output, which Gemma scales, on items in a padded batch as one by one."""
    backbone = tiny_backbone(family)
    encoder = MemoryEncoder.create(backbone, num_attention_heads=4, num_query_tokens=4, function_tokens=[])
    encoder.qformer.norm_out.weight.data.zero_()
    encoder.qformer.norm_out.bias.data.zero_()
    inputs = [encoder.inputs(text) for text in ("bcdfg", "The door is blue.", "k")]
    vectors = encoder.encode(inputs)
    embed = backbone.token_embeddings.float()
    for text, encoded in zip(("bcdfg", "The door is blue.", "k"), vectors, strict=True):
        ids = backbone.prompts.text_ids(text)
        turns = [ids[turn::4] or backbone.prompts.turn_end_ids[:1] for turn in range(4)]
        torch.testing.assert_close(encoded, torch.stack([_weighted(embed[one]) for one in turns]).cpu())
    torch.testing.assert_close(encoder.encode(inputs[:1])[0], vectors[0])


def _weighted(rows: torch.Tensor) -> torch.Tensor:
    """The first whole, the second half, the third a quarter; as long as one of them would be."""
    weights = torch.tensor([0.5**place for place in range(len(rows))])
    return (rows * weights[:, None]).sum(0) / weights.square().sum().sqrt()


def test_the_correction_is_added_and_learns():
    encoder = MemoryEncoder.create(tiny_backbone("llava"), num_attention_heads=4, function_tokens=[3])
    inputs = [encoder.inputs("The door is blue.", tiny_picture(1)), encoder.inputs("Yes.")]
    batch = encoder.backbone.batch([one.tensors for one in inputs])
    made = encoder.encode_batch(inputs)
    copied = copies([one.copied for one in inputs], encoder.backbone)
    torch.testing.assert_close(made, copied + encoder(batch))
    made.square().sum().backward()
    assert encoder.qformer.proj_in.weight.grad is not None and encoder.qformer.proj_in.weight.grad.abs().sum() > 0
    assert encoder.backbone.model.get_input_embeddings().weight.grad is None


def test_a_text_that_is_cut_is_copied_as_far_as_it_is_read():
    encoder = MemoryEncoder.create(tiny_backbone("llava"), num_attention_heads=4, max_length=128, function_tokens=[])
    inputs = encoder.inputs("a" * 400, truncate=True)
    assert inputs.truncated
    read = len(inputs.tensors["input_ids"][0]) - len(encoder.inputs(image=tiny_picture(1)).tensors["input_ids"][0])
    assert sum(map(len, inputs.copied)) < 128 and read < 128
    assert {token for vector in inputs.copied for token in vector} == set(encoder.backbone.prompts.text_ids("a"))


def test_which_tokens_are_copied_is_part_of_the_encoder(tmp_path: Path):
    plain, some, none = (
        MemoryEncoder.create(tiny_backbone("llava"), num_attention_heads=4, function_tokens=tokens)
        for tokens in (None, [3], [])
    )
    assert len({one.fingerprint.digest for one in (plain, some, none)}) == 3
    some.save_pretrained(tmp_path)
    loaded = MemoryEncoder.from_pretrained(tmp_path, tiny_backbone("llava"))
    assert loaded.copies and loaded.fingerprint == some.fingerprint
    inputs = some.inputs("The door is blue.")
    assert torch.equal(loaded.encode([loaded.inputs("The door is blue.")]), some.encode([inputs]))


def test_an_adapter_that_was_saved_before_copies_words_again(tmp_path: Path):
    encoder = MemoryEncoder.create(tiny_backbone("llava"), num_attention_heads=4, function_tokens=[])
    saved = MemoryEncoder(tiny_backbone("llava"), encoder.encoder_config.model_copy(update={"words_once": False}))
    saved.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["words_once"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = MemoryEncoder.from_pretrained(tmp_path, tiny_backbone("llava"))
    text = "tomato " * 20
    tokens = len(loaded.backbone.prompts.text_ids(text))
    assert sum(map(len, loaded.inputs(text).copied)) == tokens > sum(map(len, encoder.inputs(text).copied))
    assert loaded.fingerprint.digest != encoder.fingerprint.digest


def test_an_encoder_that_copies_is_not_exported(tmp_path: Path):
    encoder = MemoryEncoder.create(tiny_backbone("llava"), num_attention_heads=4, function_tokens=[3])
    encoder.save_pretrained(tmp_path / "adapter")
    (tmp_path / "base").mkdir()
    with pytest.raises(AdapterError, match="begin as copies.*--no-copied"):
        export_checkpoint(tmp_path / "adapter", base=tmp_path / "base", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
