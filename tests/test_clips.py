"""Frames that go through a model's video input: which they are, that it sees them so, and that settings say it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.memories import embedded
from PIL import Image
from pydantic import ValidationError

from comem_memory import MemoryEncoder, MemoryItem
from comem_memory.config import EncoderConfig
from comem_memory.encoder import EncoderInputs
from comem_memory.errors import AdapterError, ItemTooLongError
from comem_memory.testing import Family, tiny_backbone, tiny_encoder, tiny_picture
from comem_memory.training.recipe import TrainingRecipe
from comem_memory.training.train import train_encoder

FAMILIES: tuple[Family, ...] = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
ASKED = " Similar image and text knowledge for reference"


@pytest.fixture(scope="module", params=FAMILIES)
def encoder(request: pytest.FixtureRequest) -> MemoryEncoder:
    encoder = tiny_encoder(tiny_backbone(request.param))
    encoder.encoder_config = encoder.encoder_config.model_copy(update={"frames": "video", "max_length": 100_000})
    return encoder


def inputs(encoder: MemoryEncoder, content: Any, **settings: Any) -> EncoderInputs:
    """With other settings of the encoder."""
    before = encoder.encoder_config
    encoder.encoder_config = before.model_copy(update=settings)
    try:
        return encoder.inputs(content=content, thin=settings.get("thin", False))
    finally:
        encoder.encoder_config = before


def frames_of(encoder: MemoryEncoder, number: int, *, pixels: int = 6) -> list[Image.Image]:
    """Pictures that the model's processor takes as they are, `pixels` times 4 of its patches large."""
    side = 2 * encoder.prompts.processor.image_processor.patch_size
    return [tiny_picture(n, size=(2 * side, pixels // 2 * side)) for n in range(number)]


def length_of(read: EncoderInputs) -> int:
    return read.tensors["input_ids"].shape[1]


def amounts(encoder: MemoryEncoder, read: EncoderInputs) -> tuple[int, int]:
    """How many tokens stand for pictures, and for clips."""
    ids, processor = read.tensors["input_ids"], encoder.prompts.processor
    return int((ids == processor.image_token_id).sum()), int((ids == processor.video_token_id).sum())


def patches_of(frames: list[Image.Image], processor: Any) -> torch.Tensor:
    """Two frames a patch, patch by patch: an odd last frame is seen twice."""
    size, block = processor.patch_size, processor.patch_size * processor.merge_size
    pixels = np.stack([np.asarray(frame, np.float32) for frame in [*frames, *frames[-1:] * (len(frames) % 2)]])
    pixels = (pixels / 255 - np.float32(processor.image_mean)) / np.float32(processor.image_std)
    _, height, width, _ = pixels.shape
    rows = [
        pixels[time : time + 2, y : y + size, x : x + size].transpose(3, 0, 1, 2).ravel()
        for time in range(0, len(pixels), 2)
        for top in range(0, height, block)
        for left in range(0, width, block)
        for y in range(top, top + block, size)
        for x in range(left, left + block, size)
    ]
    return torch.from_numpy(np.stack(rows))


def test_the_model_sees_a_clip_as_it_was_made_to(encoder: MemoryEncoder):
    """Against inputs that are written down here, through the stock class."""
    backbone, processor = encoder.backbone, encoder.prompts.processor
    frames = frames_of(encoder, 5)
    made = encoder.inputs(content=[*frames, "A door opens."]).tensors
    pads = "<|video_pad|>" * 6
    shown = f"<|vision_start|>{3 * pads}<|vision_end|>"
    own: dict[str, Any] = {}
    if "qwen3" in backbone.name:  # two frames a second: the first two stand 0 and 0.5 seconds behind the beginning
        parts = "".join(f"<{time} seconds><|vision_start|>{pads}<|vision_end|>" for time in ("0.2", "1.2", "2.0"))
        shown = f"<|vision_start|>{parts}<|vision_end|>"
    if "qwen2_5" in backbone.name:
        own = {"second_per_grid_ts": torch.tensor([1.0])}
    said = f"<|im_start|>user\n{shown}{ASKED}<|im_end|>\n<|im_start|>assistant\nA door opens.<|im_end|>\n"
    ids = encoder.prompts.tokenizer(said, add_special_tokens=False, return_tensors="pt").input_ids
    patches = patches_of(frames, processor.image_processor)
    assert torch.equal(made["input_ids"], ids)
    assert torch.allclose(made["pixel_values_videos"], patches, atol=1e-5)
    with torch.inference_mode():
        expected = backbone.model.base_model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=2 * (ids == processor.video_token_id).int(),
            pixel_values_videos=patches,
            video_grid_thw=torch.tensor([[3, 6, 4]]),
            use_cache=False,
            **own,
        ).last_hidden_state
        found = backbone.hidden_states(backbone.batch([made]))
    assert torch.allclose(found, expected, atol=1e-5)
    reversed_frames = encoder.inputs(content=[*frames[::-1], "A door opens."])
    vectors = encoder.encode([encoder.inputs(content=[*frames, "A door opens."]), reversed_frames])
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)


def test_two_equal_frames_are_patches_of_the_picture_in_half_the_tokens(encoder: MemoryEncoder):
    [picture] = frames_of(encoder, 1)
    clip, alone = (encoder.inputs(content=[*[picture] * n, "A door."]) for n in (2, 1))
    assert torch.equal(clip.tensors["pixel_values_videos"], alone.tensors["pixel_values"])
    content = [*frames_of(encoder, 4), "A door opens."]
    together, apart = (inputs(encoder, content, frames=one) for one in ("video", "pictures"))
    assert amounts(encoder, apart) == (24, 0)
    assert amounts(encoder, together) == (0, 12)


def test_a_clip_is_pictures_of_one_size_without_text_between(encoder: MemoryEncoder):
    a, b, c, d = frames_of(encoder, 4)
    [other] = frames_of(encoder, 1, pixels=4)
    for content, grids in (
        ([a, b, "Two.", c, d, "Two more."], [1, 1]),
        ([a, b, other, c, d, "A picture between."], [1, 1]),
        (["A text.", a, b, c, d], [2]),
        (["A text.", a, other, c, d], [1]),
        ([a, "One.", b, "Another.", other], []),
    ):
        read = encoder.inputs(content=content)
        assert [one[0] for one in read.tensors.get("video_grid_thw", torch.tensor([])).tolist()] == grids
        pictures = sum(not isinstance(part, str) for part in content) - 2 * sum(grids)
        assert len(read.tensors.get("image_grid_thw", ())) == pictures


def test_batches_are_one_by_one(encoder: MemoryEncoder):
    frames, [other] = frames_of(encoder, 6), frames_of(encoder, 1, pixels=4)
    for layout in ("knowledge", "trajectory"):
        items = [
            inputs(encoder, content, layout=layout)
            for content in (
                [*frames[:4], "A door opens."],
                [*frames[:2], "A clip.", other, "A picture.", *frames[3:], "A clip of three."],
                ["A text.", *frames],
                [other, "A picture."],
                ["A text", "alone."],
            )
        ]
        together = encoder.encode(items)
        for vectors, item in zip(together, items, strict=True):
            assert torch.allclose(vectors, encoder.encode([item])[0], atol=2e-5)


def test_clips_are_scaled_down_and_thinned(encoder: MemoryEncoder):
    content, quarter = (
        ["A text.", *(tiny_picture(n, size=size) for n in range(18))]  # more than are laid out untried
        for size in ((112, 112), (56, 56))
    )
    whole, smallest, least = (length_of(encoder.inputs(content=one)) for one in (content, quarter, quarter[:7]))
    between = (whole + smallest) // 2
    smaller = inputs(encoder, content, max_length=between)
    assert smallest <= length_of(smaller) <= between < whole
    assert smaller.tensors["video_grid_thw"][:, 0].tolist() == [9]
    with pytest.raises(ItemTooLongError, match=r"19 steps have .*thin=True"):
        inputs(encoder, content, max_length=least)
    fewer = inputs(encoder, content, max_length=least, thin=True)
    assert [place for place in range(19) if place not in fewer.left_out] == [0, 3, 6, 9, 12, 15, 18]
    assert fewer.tensors["video_grid_thw"][:, 0].tolist() == [3]


def test_it_is_stored_and_answered_from(encoder: MemoryEncoder, tmp_path: Path):
    content = frames_of(encoder, 4)
    with embedded(encoder, tmp_path) as memory:
        memory.add(MemoryItem(id="door", text="How the door opens", content=content, thin=True))
        [hit] = memory.search("How does the door open?", k=1)
        assert len(hit.content or ()) == 4
        expected = encoder.encode([encoder.inputs("How the door opens", content=content)])[0]
        assert torch.allclose(hit.memory_embeddings, expected, atol=expected.abs().max().item() / 100)
        assert memory.answer("How does the door open?", k=1, max_new_tokens=3).hits == [hit]


def test_settings_say_how_frames_are_read(tmp_path: Path):
    made = MemoryEncoder.create(tiny_backbone("qwen2_vl"), num_attention_heads=4)
    made.save_pretrained(tmp_path / "pictures")
    config = json.loads((tmp_path / "pictures" / "config.json").read_text())
    assert config.pop("frames") == "pictures"
    (tmp_path / "pictures" / "config.json").write_text(json.dumps(config))  # as earlier versions write it
    old = MemoryEncoder.from_pretrained(tmp_path / "pictures", tiny_backbone("qwen2_vl"))
    assert (old.encoder_config.frames, old.fingerprint) == ("pictures", made.fingerprint)
    recipe = TrainingRecipe(
        start=tmp_path / "pictures", steps=0, reader_tokens=0, gradient_checkpointing=True, pictures=False
    )
    for folder, changes in (("video", {"frames": "video"}), ("on", {"start": tmp_path / "video"})):
        train_encoder(tiny_backbone("qwen2_vl"), tmp_path / folder, recipe.model_copy(update=changes))
        read = MemoryEncoder.from_pretrained(tmp_path / folder, tiny_backbone("qwen2_vl"))
        assert read.encoder_config.frames == "video"
        assert read.fingerprint.adapter_hash != made.fingerprint.adapter_hash
    with pytest.raises(ValidationError, match="'pictures' or 'video'"):
        EncoderConfig(**{**config, "frames": "clips"})


def test_a_model_without_video_input_is_told(tmp_path: Path):
    for family in ("llava", "llama"):
        with pytest.raises(AdapterError, match=f"tiny-{family}-0 takes no frames as video. Read them as pictures"):
            MemoryEncoder.create(tiny_backbone(family), num_attention_heads=4, frames="video")
    with pytest.raises(AdapterError, match="takes no frames as video"):
        train_encoder(tiny_backbone("llava"), tmp_path / "none", TrainingRecipe(frames="video"))
    assert not (tmp_path / "none").exists()
