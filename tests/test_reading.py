"""The start of training: hidden states learn to say what they stand on, and a fitted Q-Former reads them in order."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("faker", reason="training needs the `train` extra")

from comem_memory.encoder import MemoryEncoder
from comem_memory.testing import Family, tiny_backbone
from comem_memory.training.data import WorldBatches
from comem_memory.training.reading import END, LONGEST, OUTSIDE, STRETCH, Reading, ReadingTrainer, fit_start, texts_of
from comem_memory.training.trainer import training_arguments

BATCHES = WorldBatches(seed=3, num_batches=80, items=8, questions=1)
TEXTS = texts_of(BATCHES[i] for i in range(8))


def make_reading(family: Family = "llava") -> Reading:
    torch.manual_seed(0)
    encoder = MemoryEncoder.create(tiny_backbone(family), num_attention_heads=4, max_length=1024)
    return Reading(encoder, TEXTS)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "llama"])
def test_facts_lie_on_the_texts_tokens(family: Family):
    reading = make_reading(family)
    texts = ["Ab", "The door is blue, says Ann."]
    batch, facts = reading.batch(texts)
    for row, text in enumerate(texts):
        ids = batch["input_ids"][row][facts.inside[row]]
        assert reading.backbone.decode(ids.tolist()) == text
        place = facts.place[row][facts.inside[row]]
        torch.testing.assert_close(place, (1 + torch.arange(len(ids)) / STRETCH).log() - END / 2)
    assert torch.equal(facts.weight == OUTSIDE, ~facts.inside)


def test_rare_tokens_weigh_more():
    reading = make_reading()
    [often], [never] = reading.backbone.text_ids(" "), reading.backbone.text_ids("~")
    assert not any("~" in text for text in TEXTS)
    assert reading.weights[never] == 1
    assert reading.weights[often] < 0.02


def make_trainer(reading: Reading, folder: Path, steps: int) -> ReadingTrainer:
    arguments = training_arguments(
        folder,
        steps=steps,
        learning_rate=3e-3,
        bf16=False,
        use_cpu=True,
        warmup_steps=0,
        save_strategy="no",
        eval_strategy="no",
        disable_tqdm=True,
    )
    return ReadingTrainer(reading, TEXTS, arguments, BATCHES, [BATCHES[79]])


def test_hidden_states_learn_to_say_what_they_stand_on(tmp_path: Path):
    reading = make_reading()
    frozen = {n: p.detach().clone() for n, p in reading.backbone.model.named_parameters() if "lora_" not in n}
    trainer = make_trainer(reading, tmp_path, 40)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.8 * before
    now = dict(reading.backbone.model.named_parameters())
    assert all(torch.equal(now[name], weight) for name, weight in frozen.items())


def test_fitted_queries_read_one_part_after_the_other(tmp_path: Path):
    reading = make_reading()
    make_trainer(reading, tmp_path, 60).train()
    fit_start(reading, TEXTS)
    encoder = reading.encoder

    def encode(text: str) -> torch.Tensor:
        [memory] = encoder.encode([encoder.inputs(text)])
        return (memory - reading.mean) / reading.std  # (Q, H)

    text = "The quick brown fox jumps over the lazy dog, and the dog sleeps on beside the warm stove until noon. " * 2
    first, whole = encode(text[:LONGEST]), []
    torch.testing.assert_close(first.std(-1, correction=0), torch.ones(8), atol=1e-3, rtol=0)
    for position in (2, 40, 100):
        changed = text[:position] + "#%" + text[position + 2 : LONGEST]
        whole.append((encode(changed) - first).norm(dim=-1))
    change = torch.stack(whole)  # (places changed, Q)
    centre = (change * torch.arange(8)).sum(1) / change.sum(1)
    assert centre[0] + 1 < centre[1] < centre[2] - 1, change
