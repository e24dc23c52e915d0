"""Made-up worlds are reproducible and answerable; training learns, and resumes where it was interrupted."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.saved import save_tiny
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback, TrainerCallback

pytest.importorskip("faker", reason="training needs the `train` extra")

from comem_memory.config import LoraSettings
from comem_memory.encoder.memory_encoder import MemoryEncoder, load_weights
from comem_memory.errors import AdapterError, CorpusError
from comem_memory.synthesis.emoji import Picture
from comem_memory.synthesis.worlds import samples
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_picture
from comem_memory.training import recipes
from comem_memory.training.batches import POOL, Batch, TrainingQuestion, WorldBatches
from comem_memory.training.recipes import country_words, train_encoder
from comem_memory.training.trainer import MemoryTrainer, training_arguments
from comem_memory.training.warm_start import Reading

STEPS = 12


def first(count: int, seed: int) -> list[Any]:
    return list(itertools.islice(samples(seed), count))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    for seed in range(3):
        tiny_picture(seed).save(tmp_path / f"{seed}.png")
    return [Picture(tmp_path / f"{seed}.png", f"thing number {seed}") for seed in range(3)]


# -- data ----------------------------------------------------------------------------------------------------


def test_a_world_follows_from_its_seed():
    assert first(50, seed=1) == first(50, seed=1)
    texts = [{sample.text for sample in first(200, seed)} for seed in (1, 2)]
    assert not texts[0] & texts[1]


def test_every_answer_stands_in_the_text():
    for sample in first(500, seed=3):
        assert sample.questions
        for question in sample.questions:
            for said in (sample.text, question.answer):
                begins_a_sentence = question.value[0].upper() + question.value[1:]
                assert question.value in said or begins_a_sentence in said, (question, said)
            assert "{" not in sample.text + question.text + question.answer


def test_items_have_as_many_facts_as_is_asked_for():
    short, usual = (
        sum(len(sample.text) for sample in itertools.islice(samples(1, **chosen), 200)) / 200
        for chosen in ({"num_facts": (1,)}, {})
    )
    assert short < usual / 2.5
    for sample in itertools.islice(samples(1, num_facts=(1,)), 200):
        assert 1 <= len(sample.questions) <= 3, sample  # its fact, what it is and where, if the opening says so


def test_items_are_the_same_in_every_process():
    script = "from comem_memory.synthesis.worlds import samples; import itertools; "
    script += "print([s for s in itertools.islice(samples(1), 200)])"
    said = {
        subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1")
    }
    assert len(said) == 1


def test_batches_are_the_same_in_any_order():
    def dataset(seed: int = 1) -> WorldBatches:
        return WorldBatches(seed=seed, num_batches=2 * POOL + 3, items=3)

    forwards = [*map(dataset().__getitem__, range(len(dataset())))]
    jumping = dataset()
    for index in (2 * POOL, 0, POOL, 2, POOL - 1, 2 * POOL + 2, 0):
        assert jumping[index] == forwards[index]
    assert dataset(2)[0] != forwards[0]
    assert len(forwards) == 2 * POOL + 3
    with pytest.raises(IndexError):
        jumping[2 * POOL + 3]


def test_a_question_sees_its_item_among_others():
    for batch in WorldBatches(seed=1, num_batches=POOL, items=5, max_memories=3):
        assert len(batch["items"]) == 5
        for asked in batch["asked"]:
            assert 1 <= len(asked.items) <= 3
            assert len(set(asked.items)) == len(asked.items)
            questions = [(q.text, q.answer) for i in asked.items for q in batch["items"][i].questions]
            assert (asked.question, asked.answer) in questions
        for restated in batch["restated"]:
            assert restated.answer == batch["items"][restated.items[0]].text


def test_a_picture_is_asked_about_by_name(pictures: list[Picture]):
    places = set()
    for batch in WorldBatches(seed=1, num_batches=4, items=4, questions=99, pictures=pictures, picture_share=1.0):
        for item in batch["items"]:
            assert item.picture is not None
            [place] = (i for i, q in enumerate(item.questions) if q.text == "What does the picture show?")
            assert item.questions[place].value == item.picture.name
            assert item.picture.name in item.questions[place].answer
            places.add(place)
    assert len(places) > 2  # not always the first, which would be asked about every time


# -- training ------------------------------------------------------------------------------------------------


class InterruptAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.global_step >= self.step


class Worsen(TrainerCallback):
    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        for group in given["optimizer"].param_groups:
            group["maximize"] = True


def make_trainer(folder: Path, batches: Any, *, distillation: float = 0.0, **changes: Any) -> MemoryTrainer:
    torch.manual_seed(0)
    backbone = tiny_backbone("llava")
    with torch.no_grad():
        backbone.model.lm_head.weight.mul_(20)  # else every token is as likely as any other, whatever is remembered
    encoder = MemoryEncoder.create(backbone, num_attention_heads=4, max_length=1024)
    settings = {
        "bf16": False,
        "use_cpu": True,
        "warmup_steps": 0,
        "save_steps": 5,
        "eval_steps": 6,
        "disable_tqdm": True,
    }
    return MemoryTrainer(
        encoder,
        training_arguments(folder, **{"steps": STEPS, "learning_rate": 3e-3} | settings | changes),
        batches,
        WorldBatches(seed=2, num_batches=1, items=3, questions=1),
        distillation=distillation,
    )


def loss_on(trainer: MemoryTrainer, batch: Batch) -> float:
    trainer.encoder.eval()
    with torch.no_grad():
        return trainer.compute_loss(trainer.encoder, batch).item()


def trained(trainer: MemoryTrainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in trainer.encoder.named_parameters() if p.requires_grad}


def test_training_learns_a_batch(tmp_path: Path):
    batch = WorldBatches(seed=3, num_batches=1, items=3, questions=2)[0]  # short values: the model spells by bytes
    values = {question.text: question.value for item in batch["items"] for question in item.questions}
    # A random model cannot be brought to say whole sentences by 8 vectors.
    batch["asked"] = [replace(asked, answer=values[asked.question]) for asked in batch["asked"]]
    trainer = make_trainer(tmp_path, [batch] * 36, save_strategy="no", max_steps=36, eval_steps=18)
    frozen = {n: p.detach().clone() for n, p in trainer.encoder.named_parameters() if not p.requires_grad}
    before, weights = loss_on(trainer, batch), trained(trainer)
    trainer.train()
    assert loss_on(trainer, batch) < 0.8 * before
    after = trained(trainer)
    assert not any(torch.equal(after[n], weights[n]) for n in weights if n.startswith("qformer"))
    assert any(not torch.equal(after[n], weights[n]) for n in weights if "lora_" in n)
    assert all(torch.equal(p, frozen[n]) for n, p in trainer.encoder.named_parameters() if n in frozen)
    losses = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert {entry["step"] for entry in losses} == {18, 36}
    assert all(entry["eval_shuffled_loss"] > 0 for entry in losses)


def test_of_a_text_that_is_cut_nothing_more_is_asked_for_than_the_vectors_hold(tmp_path: Path):
    batch = WorldBatches(seed=3, num_batches=1, items=3, questions=1, restated_share=1.0)[0]
    trainer = make_trainer(tmp_path, [batch], distillation=1.0)
    tokenizer, most = trainer.backbone.prompts.tokenizer, trainer.encoder.encoder_config.max_length
    batch["items"][0] = replace(batch["items"][0], text="A very long story. " * most)
    batch["restated"][0] = replace(batch["restated"][0], answer=batch["items"][0].text)
    cut = tokenizer.decode(tokenizer(batch["items"][0].text).input_ids[:most])
    as_cut = [replace(batch["items"][0], text=cut), *batch["items"][1:]]
    assert loss_on(trainer, batch) == loss_on(trainer, batch | {"items": as_cut, "restated": batch["restated"][1:]})
    assert loss_on(trainer, batch) != loss_on(trainer, batch | {"restated": batch["restated"][2:]})


def test_distillation_follows_what_the_model_expects_when_it_reads_the_text(tmp_path: Path):
    batch = WorldBatches(seed=3, num_batches=1, items=3, questions=1, restated_share=0.0)[0]
    trainer = make_trainer(tmp_path, [batch] * 8, distillation=1.0, max_steps=8, eval_steps=8, save_strategy="no")
    before, backbone = loss_on(trainer, batch), trainer.backbone

    def logits(content: str, asked: TrainingQuestion, memory: torch.Tensor | None) -> torch.Tensor:
        prompt = backbone.prompts.prompt_inputs([{"role": "user", "content": content}], answer=asked.answer)
        with torch.no_grad():
            return backbone.answer_logits([prompt], [len(backbone.prompts.answer_ids(asked.answer))], [memory])[0]

    apart = []
    vectors = trainer.encoder.encode([trainer.encoder.inputs(item.text) for item in batch["items"]])
    for asked in batch["asked"]:
        texts = "".join(f"{batch['items'][i].text}\n" for i in asked.items)
        read = logits(f"{texts}\n{asked.question}", asked, None).log_softmax(-1)
        remembered = logits(asked.question, asked, vectors[asked.items].flatten(0, 1)).log_softmax(-1)
        apart.append((read.exp() * (read - remembered)).sum(-1))
    assert before == pytest.approx(torch.cat(apart).mean().item(), rel=1e-3)
    trainer.train()
    assert loss_on(trainer, batch) < 0.95 * before
    with pytest.raises(ValueError, match="share from 0 to 1"):
        make_trainer(tmp_path, [batch], distillation=2.0)


def test_training_stops_early_and_keeps_the_best_weights(tmp_path: Path):
    batches = WorldBatches(seed=1, num_batches=STEPS, items=3, questions=1)
    often = {"save_steps": 1, "eval_steps": 1, "load_best_model_at_end": True}
    trainer = make_trainer(tmp_path, batches, **often)
    trainer.add_callback(EarlyStoppingCallback(2))
    trainer.add_callback(Worsen())
    trainer.train()
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert losses == sorted(losses)
    assert trainer.state.global_step == 3
    kept = load_file(tmp_path / "checkpoint-1" / "qformer.safetensors")
    for name, weight in trainer.encoder.qformer.state_dict().items():
        assert torch.equal(weight, kept[name]), name


def test_an_interrupted_training_resumes_exactly(tmp_path: Path):
    batches = WorldBatches(seed=1, num_batches=STEPS, items=3, questions=1)
    whole = make_trainer(tmp_path / "whole", batches)
    whole.train()

    interrupted = make_trainer(tmp_path / "interrupted", batches)
    interrupted.add_callback(InterruptAt(8))
    interrupted.train()
    assert interrupted.state.global_step == 8

    torch.manual_seed(99)  # another process has other random numbers
    resumed = make_trainer(tmp_path / "interrupted", batches)
    (tmp_path / "interrupted" / "checkpoint-7").mkdir()  # killed while it was being written
    assert resumed.last_checkpoint() == str(tmp_path / "interrupted" / "checkpoint-5")
    resumed.train(resume_from_checkpoint=resumed.last_checkpoint())
    assert resumed.state.global_step == STEPS
    for name, weight in trained(whole).items():
        assert torch.equal(trained(resumed)[name], weight), name


def test_a_checkpoint_is_an_adapter_folder(tmp_path: Path):
    batches = WorldBatches(seed=1, num_batches=STEPS, items=3, questions=1)
    trainer = make_trainer(tmp_path, batches, save_steps=STEPS)
    assert trainer.last_checkpoint() is None
    trainer.train()
    other = make_trainer(tmp_path / "other", batches)
    other.encoder.peft.base_model.unload()
    loaded = MemoryEncoder.from_pretrained(str(trainer.last_checkpoint()), other.backbone)
    assert loaded.fingerprint == trainer.encoder.fingerprint


def test_the_recipe_makes_an_adapter_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recipes, "TYPICAL", 8)
    backbone = tiny_backbone("llava")
    made = train_encoder(backbone, tmp_path, steps=3, reading_steps=2, pictures=False)
    loaded = MemoryEncoder.from_pretrained(tmp_path, tiny_backbone("llava"))
    assert loaded.encode([loaded.inputs("The door is blue.")]).shape == (1, 8, 64)

    def forbidden(*_: Any) -> None:
        raise AssertionError("the start was already made")

    monkeypatch.setattr(recipes, "Reading", forbidden)
    start = load_file(tmp_path / "start" / "qformer.safetensors")
    again = train_encoder(tiny_backbone("llava"), tmp_path, steps=3, reading_steps=2, pictures=False)
    assert again.fingerprint == loaded.fingerprint == made.fingerprint  # it was finished
    assert not torch.equal(start["query_tokens"], again.qformer.query_tokens)
    with pytest.raises(AdapterError, match="holds work with another --seed. Delete it"):
        train_encoder(tiny_backbone("llava"), tmp_path, steps=3, reading_steps=2, pictures=False, seed=2)
    with pytest.raises(AdapterError, match="holds work with another --model. Delete it"):
        train_encoder(tiny_backbone("llava", seed=5), tmp_path, steps=3, reading_steps=2, pictures=False)
    (tmp_path / "run.json").unlink()
    with pytest.raises(AdapterError, match="holds an adapter already. Pass a new folder"):
        train_encoder(tiny_backbone("llava"), tmp_path, steps=3, reading_steps=2, pictures=False)


def test_the_start_is_fitted_to_different_texts_of_a_bounded_length():
    encoder = tiny_encoder(tiny_backbone("llama"))
    texts = ["a" * 30, "b" * 30, "a" * 30, "c" * 30, "d" * 30]  # a token a letter
    assert recipes._up_to(100, encoder, texts) == ["a" * 30, "b" * 30, "c" * 30]
    assert recipes._up_to(10, encoder, texts) == ["a" * 30]


def test_a_trained_adapter_can_be_trained_on_with_fresh_items(tmp_path: Path):
    def train(folder: str, **changes: Any) -> MemoryEncoder:
        changes |= {"pictures": False, "gradient_checkpointing": True}  # which also saves compiling
        return train_encoder(tiny_backbone("llava"), tmp_path / folder, steps=3, **changes)

    _, adapter = save_tiny(tmp_path)
    first = train("first", start=adapter)
    assert not (tmp_path / "first" / "start").exists()  # nothing learns to read anew
    expected = load_file(adapter / "qformer.safetensors")["query_tokens"]
    assert torch.allclose(first.qformer.query_tokens, expected, rtol=4e-3, atol=1e-3)  # stored in bfloat16
    assert not torch.equal(first.qformer.query_tokens, expected)
    other = train("other", start=adapter, seed=2, max_facts=1, max_memories=8, distillation=0.5, patience=1)
    assert not torch.equal(first.qformer.query_tokens, other.qformer.query_tokens)
    with pytest.raises(ValueError, match="max_memories 9 exceeds the 8 items of a batch"):
        train("none", start=adapter, max_memories=9)
    few, many = (
        recipes._world_batches(
            tiny_backbone("llava"), POOL * 4, 0, num_facts=(1,), pictures=False, alone=POOL, max_memories=most, seed=1
        )[0]
        for most in (3, 8)
    )
    for batches, most in ((few, 3), (many, 8)):
        counts = [max(len(one.items) for one in batches[index]["asked"]) for index in range(POOL * 4)]
        assert max(counts[:POOL]) == 1 and max(counts[POOL:]) == most


def test_an_item_becomes_as_many_vectors_as_asked_for(tmp_path: Path):
    settings: dict[str, Any] = {"steps": 2, "reading_steps": 2, "pictures": False, "gradient_checkpointing": True}
    train_encoder(tiny_backbone("llava"), tmp_path, num_vectors=3, **settings)
    loaded = MemoryEncoder.from_pretrained(tmp_path, tiny_backbone("llava"))
    assert loaded.encode([loaded.inputs("The door is blue.")]).shape == (1, 3, 64)
    on = train_encoder(tiny_backbone("llava"), tmp_path / "on", start=tmp_path, **settings)
    assert on.encoder_config.qformer.num_query_tokens == 3
    with pytest.raises(AdapterError, match="with another --vectors"):
        train_encoder(tiny_backbone("llava"), tmp_path / "on", start=tmp_path, num_vectors=5, **settings)


def test_query_tokens_of_another_number_lie_between_those_of_the_start(tmp_path: Path):
    _, adapter = save_tiny(tmp_path)
    weights = load_file(adapter / "qformer.safetensors")
    tokens = weights["query_tokens"][0]
    for number, expected in ((4, (tokens[::2] + tokens[1::2]) / 2), (len(tokens), tokens)):
        other = MemoryEncoder.create(tiny_backbone("llava"), num_query_tokens=number, num_attention_heads=4)
        load_weights(other, adapter, resize=True)
        assert torch.equal(other.qformer.query_tokens[0], expected)
        assert torch.equal(other.qformer.proj_in.weight, weights["proj_in.weight"])
    with pytest.raises(AdapterError, match="wrong shape for 1 weights, first 'query_tokens'"):
        load_weights(MemoryEncoder.create(tiny_backbone("llava"), num_query_tokens=4, num_attention_heads=4), adapter)


def test_training_goes_on_with_the_settings_of_its_start(tmp_path: Path):
    settings: dict[str, Any] = {"steps": 1, "pictures": False, "gradient_checkpointing": True, "start": tmp_path}
    lora = LoraSettings(r=4, lora_alpha=4)
    MemoryEncoder.create(tiny_backbone("llava"), num_attention_heads=2, lora=lora).save_pretrained(tmp_path)
    on = train_encoder(tiny_backbone("llava"), tmp_path / "on", **settings)
    assert on.encoder_config.qformer.num_attention_heads == 2
    assert (on.encoder_config.lora.r, on.encoder_config.lora.lora_alpha) == (4, 4)
    with pytest.raises(AdapterError, match="has other weights"):
        train_encoder(tiny_backbone("llava", seed=5), tmp_path / "other", **settings)


def test_the_start_is_drawn_from_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recipes, "TYPICAL", 8)
    settings: dict[str, Any] = {"steps": 1, "reading_steps": 1, "pictures": False, "gradient_checkpointing": True}
    first, again, other = (
        train_encoder(tiny_backbone("llava"), tmp_path / str(number), seed=seed, **settings).fingerprint
        for number, seed in enumerate((1, 1, 2))
    )
    assert first == again != other


def test_reading_cuts_long_texts_and_follows_the_model_to_its_device():
    encoder = MemoryEncoder.create(tiny_backbone("llava"), num_attention_heads=4, max_length=128)
    reading = Reading(encoder, ["The door is blue. " * 40])
    batch, facts = reading.batch(["The door is blue. " * 40, "The door is blue."])
    assert batch["input_ids"].shape[1] == 128
    inside = facts.inside.sum(1)
    assert inside[1] == len(encoder.backbone.prompts.text_ids("The door is blue."))
    assert inside[1] < inside[0] < 128
    encoder.backbone.model.to("meta")
    assert reading.tokens({"input_ids": batch["input_ids"].to("meta")}).device.type == "meta"
    with pytest.raises(CorpusError, match="No item has a text to learn to read from"):
        Reading(encoder, [])


def test_names_may_be_words_of_the_vocabulary():
    texts = [sample.text for sample in itertools.islice(samples(1, ["Quillon"]), 40)]
    assert 5 < sum("Quillon" in text for text in texts) < 40
    assert {"Kabul", "French", "Kenya"} <= country_words()


def test_pictures_take_part(tmp_path: Path, pictures: list[Picture]):
    batches = WorldBatches(seed=1, num_batches=2, items=3, questions=1, pictures=pictures, picture_share=0.5)
    trainer = make_trainer(tmp_path / "run", batches, save_strategy="no", max_steps=2)
    trainer.train()
    tower = [p for n, p in trainer.encoder.named_parameters() if "vision_tower" in n and "lora_B" in n]
    assert any(p.abs().sum() > 0 for p in tower)
