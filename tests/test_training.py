"""Made-up worlds are reproducible and answerable; training learns, and resumes where it was interrupted."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.saved import save_tiny
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback, TrainerCallback
from typer.testing import CliRunner, Result

pytest.importorskip("faker", reason="training needs the `train` extra")

from comem_memory.cli import app as cli
from comem_memory.config import LoraSettings
from comem_memory.encoder import MemoryEncoder
from comem_memory.errors import AdapterError, CorpusError
from comem_memory.files import load_image
from comem_memory.metrics import contains
from comem_memory.synthesis.drafts import WorldDrafts
from comem_memory.synthesis.emoji import Picture
from comem_memory.synthesis.groups import Mixture, group
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_picture
from comem_memory.training import data, forward_passes, train, warm_start
from comem_memory.training.batches import Batch, TrainingQuestion
from comem_memory.training.data import training_data
from comem_memory.training.draft_batches import DraftBatches
from comem_memory.training.memory_trainer import MemoryTrainer
from comem_memory.training.names import country_words, vocabulary_words
from comem_memory.training.recipe import TrainingRecipe
from comem_memory.training.train import train_encoder
from comem_memory.training.trainer import training_arguments
from comem_memory.training.warm_start import WarmStartLayout

STEPS = 12


def worlds(
    seed: int = 1,
    num_batches: int = 1,
    *,
    items: int = 3,
    questions: int = 1,
    pictured: float = 0.0,
    emoji: Sequence[Picture] = (),
    words: Sequence[str] = (),
    max_facts: int | None = None,
    **others: Any,
) -> DraftBatches:
    mixture = Mixture(
        languages=("english",),
        pictured=pictured,
        emoji=emoji,
        words=words,
        max_facts=max_facts,
        items=items,
        questions=questions,
    )
    return DraftBatches(WorldDrafts(seed, {"train": mixture}), "train", seed=seed, num_batches=num_batches, **others)


def texts(batches: DraftBatches) -> list[str]:
    return [item.text for batch in batches for item in batch["items"]]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    for seed in range(3):
        tiny_picture(seed).save(tmp_path / f"{seed}.png")
    return [Picture(tmp_path / f"{seed}.png", f"thing number {seed}") for seed in range(3)]


# -- data ----------------------------------------------------------------------------------------------------


def test_a_world_follows_from_its_seed():
    assert texts(worlds(1, 6, items=8)) == texts(worlds(1, 6, items=8))
    assert not {*texts(worlds(1, 20, items=10))} & {*texts(worlds(2, 20, items=10))}


def test_every_answer_stands_in_the_text():
    batches = worlds(3, 50, items=8, questions=4, words=["Quillon"])
    facts = 0
    for index in range(50):
        drafts = batches.drafts.of_group("train", index)
        assert len(drafts) > 3 * 8
        for draft in drafts:
            assert "{" not in draft.question + draft.answer + "".join(item.text for item in draft.items)
            assert any(contains(draft.answer, right) for right in draft.right), draft
            if draft.kind == "fact":
                [about] = draft.gold
                assert contains(draft.items[about].text, draft.right[0]), draft
                facts += 1
    assert facts > 800


def test_items_have_as_many_facts_as_is_asked_for():
    short, usual = (
        sum(map(len, texts(worlds(1, 25, items=8, questions=4, **chosen)))) / 200 for chosen in ({"max_facts": 1}, {})
    )
    assert short < usual / 2.5
    for most in (1, 2):
        mixture = Mixture(pictured=0.0, max_facts=most)
        facts = [len(item.facts) for number in range(20) for item in group(1, "train", number, mixture).items]
        assert {*facts} == {*range(1, most + 1)}


def test_items_are_the_same_in_every_process():
    script = "from comem_memory.synthesis.groups import Mixture, group; "
    script += "print([group(1, 'train', n, Mixture(words=('Quillon',), items=8, questions=4)) for n in range(20)])"
    said = {
        subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1")
    }
    assert len(said) == 1


def test_batches_are_the_same_in_any_order():
    forwards = [*worlds(1, 19)]
    jumping = worlds(1, 19)
    for index in (16, 0, 8, 2, 7, 18, 0):
        assert jumping[index] == forwards[index]
    assert worlds(2, 19)[0] != forwards[0]
    assert len(forwards) == 19
    with pytest.raises(IndexError):
        jumping[19]


def test_a_question_sees_its_item_among_others():
    batches = worlds(1, 16, items=5, questions=4, max_memories=3)
    counts = Counter[int]()
    for index, batch in enumerate(batches):
        assert len(batch["items"]) == 5
        for asked, draft in zip(batch["asked"], batches.drafts.of_group("train", index), strict=True):
            assert 1 <= len(asked.items) <= 3
            assert len(set(asked.items)) == len(asked.items)
            assert (asked.question, asked.answer) == (draft.question, draft.answer)
            seen = [batch["items"][place].text for place in asked.items]
            assert all(draft.items[place].text in seen for place in draft.gold)
            counts[len(asked.items)] += 1
        for restated in batch["restated"]:
            assert restated.answer == batch["items"][restated.items[0]].text
    assert min(counts[1], counts[2] + counts[3]) > 50


def test_a_picture_is_asked_about_by_name(pictures: list[Picture]):
    batches = worlds(1, 8, items=4, questions=4, emoji=pictures, pictured=1.0)
    names = {picture.name: load_image(picture.path) for picture in pictures}
    shown = 0
    for index, batch in enumerate(batches):
        assert all(item.image is not None for item in batch["items"])
        for draft in batches.drafts.of_group("train", index):
            if "picture" in draft.kind and draft.right[0] in names:
                assert draft.right[0] in draft.answer
                assert draft.items[draft.gold[0]].image == names[draft.right[0]]
                shown += 1
    assert shown > 8


# -- training ------------------------------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches enough to see that a recipe trains, not that it teaches."""
    monkeypatch.setattr(data, "TYPICAL", 8)
    monkeypatch.setattr(data, "DEVELOPMENT_BATCHES", 1)
    monkeypatch.setattr(train, "TYPICAL_TEXTS", 4)


class InterruptAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.global_step >= self.step


class Worsen(TrainerCallback):
    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        for parameters in given["optimizer"].param_groups:
            parameters["maximize"] = True


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
        worlds(2),
        distillation=distillation,
    )


def loss_on(trainer: MemoryTrainer, batch: Batch) -> float:
    trainer.encoder.eval()
    with torch.no_grad():
        return trainer.compute_loss(trainer.encoder, batch).item()


def trained(trainer: MemoryTrainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in trainer.encoder.named_parameters() if p.requires_grad}


def test_training_learns_a_batch(tmp_path: Path):
    batches = worlds(3, questions=2)
    batch = batches[0]
    values = {draft.question: draft.right[0] for draft in batches.drafts.of_group("train", 0)}  # short, of few bytes
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
    batch = worlds(3, restated_share=1.0)[0]
    trainer = make_trainer(tmp_path, [batch], distillation=1.0)
    tokenizer, most = trainer.backbone.prompts.tokenizer, trainer.encoder.encoder_config.max_length
    batch["items"][0] = replace(batch["items"][0], text="A very long story. " * most)
    batch["restated"][0] = replace(batch["restated"][0], answer=batch["items"][0].text)
    cut = tokenizer.decode(tokenizer(batch["items"][0].text).input_ids[:most])
    as_cut = [replace(batch["items"][0], text=cut), *batch["items"][1:]]
    assert loss_on(trainer, batch) == loss_on(trainer, batch | {"items": as_cut, "restated": batch["restated"][1:]})
    assert loss_on(trainer, batch) != loss_on(trainer, batch | {"restated": batch["restated"][2:]})


def test_forward_passes_have_every_sequence_once_and_little_padding():
    lengths = [int(length) for length in torch.randint(10, 200, (300,), generator=torch.Generator().manual_seed(0))]
    passes = forward_passes.forward_passes(lengths, "cpu", most_tokens=1000)
    assert sorted(number for some in passes for number in some) == list(range(300))
    places = [len(some) * max(lengths[number] for number in some) for some in passes]
    assert max(places) <= 1000
    assert sum(places) < 1.06 * sum(lengths)
    [longer] = forward_passes.forward_passes([2000], "cpu", most_tokens=1000)
    assert longer == [0]


def test_a_step_in_several_passes_is_that_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    batch = worlds(3)[0]

    def step() -> tuple[float, dict[str, torch.Tensor]]:
        trainer = make_trainer(tmp_path, [batch], distillation=0.5)
        passes = Counter[str]()
        decoder = trainer.backbone.model.get_decoder()
        decoder.register_forward_hook(lambda *_: passes.update(["decoder"]))
        loss = trainer.compute_loss(trainer.encoder.eval(), batch)
        loss.backward()
        gradients = {name: p.grad for name, p in trainer.encoder.named_parameters() if p.grad is not None}
        counts.append(passes["decoder"])
        return loss.item(), gradients

    counts: list[int] = []
    monkeypatch.setattr(forward_passes, "ENOUGH", {"cpu": 1 << 20, "cuda": 1 << 20})
    loss, gradients = step()
    monkeypatch.setattr(forward_passes, "ENOUGH", {"cpu": 1, "cuda": 1})
    divided, theirs = step()
    assert counts[0] < counts[1]
    assert divided == pytest.approx(loss, rel=1e-5)
    assert theirs.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(theirs[name], gradient, rtol=1e-3, atol=1e-5)


def test_distillation_follows_what_the_model_expects_when_it_reads_the_text(tmp_path: Path):
    batch = worlds(3, restated_share=0.0)[0]
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
    batches = worlds(1, STEPS)
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
    batches = worlds(1, STEPS)
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
    batches = worlds(1, STEPS)
    trainer = make_trainer(tmp_path, batches, save_steps=STEPS)
    assert trainer.last_checkpoint() is None
    trainer.train()
    other = make_trainer(tmp_path / "other", batches)
    other.encoder.peft.base_model.unload()
    loaded = MemoryEncoder.from_pretrained(str(trainer.last_checkpoint()), other.backbone)
    assert loaded.fingerprint == trainer.encoder.fingerprint


@pytest.mark.usefixtures("few")
def test_the_recipe_makes_an_adapter_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe = TrainingRecipe(prompt_steps=1, steps=3, warm_start_steps=2, pictures=False)

    def train(seed: int = 0, **changes: Any) -> MemoryEncoder:
        return train_encoder(tiny_backbone("llava", seed=seed), tmp_path, recipe.model_copy(update=changes))

    made = train()
    loaded = MemoryEncoder.from_pretrained(tmp_path, tiny_backbone("llava"))
    assert loaded.encode([loaded.inputs("The door is blue.")]).shape == (1, 8, 64)

    def forbidden(*_: Any) -> None:
        raise AssertionError("the warm start was already made")

    monkeypatch.setattr(warm_start, "WarmStartLayout", forbidden)
    start = load_file(tmp_path / "warm-start" / "qformer.safetensors")
    again = train(patience=3, gradient_checkpointing=True)  # which do not decide the result
    assert again.fingerprint == loaded.fingerprint == made.fingerprint  # it was finished
    assert not torch.equal(start["query_tokens"], again.qformer.query_tokens)
    with pytest.raises(AdapterError, match="holds work with another --seed. Delete it"):
        train_encoder(tiny_backbone("llava"), tmp_path, recipe.model_copy(update={"seed": 2}))
    with pytest.raises(AdapterError, match="holds work with another --warm-start-steps. Delete it"):
        train(warm_start_steps=3)
    with pytest.raises(AdapterError, match="holds work with another --model. Delete it"):
        train(seed=5)
    (tmp_path / "run.json").unlink()
    with pytest.raises(AdapterError, match="holds an adapter already. Pass a new folder"):
        train()


@pytest.mark.usefixtures("few")
def test_a_trained_adapter_recommends_the_recipes_mode(tmp_path: Path):
    _, adapter = save_tiny(tmp_path)
    recipe = TrainingRecipe(prompt_steps=1, steps=1, pictures=False, gradient_checkpointing=True, start=adapter)
    for mode, chosen in (("both", recipe), ("memory", recipe.model_copy(update={"recommended_mode": "memory"}))):
        train_encoder(tiny_backbone("llava"), tmp_path / mode, chosen)
        for folder in (tmp_path / mode, tmp_path / mode / "checkpoint-1"):
            assert json.loads((folder / "config.json").read_text())["recommended_mode"] == mode


def test_the_start_is_fitted_to_different_texts_of_a_bounded_length():
    encoder = tiny_encoder(tiny_backbone("llama"))
    texts = ["a" * 30, "b" * 30, "a" * 30, "c" * 30, "d" * 30]  # a token a letter
    assert warm_start.up_to(100, encoder, texts) == ["a" * 30, "b" * 30, "c" * 30]
    assert warm_start.up_to(10, encoder, texts) == ["a" * 30]


@pytest.mark.usefixtures("few")
def test_a_trained_adapter_can_be_trained_on_with_fresh_items(tmp_path: Path):
    _, adapter = save_tiny(tmp_path)

    def train(folder: str, **changes: Any) -> MemoryEncoder:
        changes |= {"pictures": False, "gradient_checkpointing": True}  # which also saves compiling
        return train_encoder(
            tiny_backbone("llava"), tmp_path / folder, TrainingRecipe(prompt_steps=1, steps=3, start=adapter, **changes)
        )

    first = train("first")
    assert not (tmp_path / "first" / "warm-start").exists()
    expected = load_file(adapter / "qformer.safetensors")["query_tokens"]
    assert torch.allclose(first.qformer.query_tokens, expected, rtol=4e-3, atol=1e-3)  # stored in bfloat16
    assert not torch.equal(first.qformer.query_tokens, expected)
    other = train("other", seed=2, max_facts=1, max_memories=8, distillation=0.5, patience=1)
    assert not torch.equal(first.qformer.query_tokens, other.qformer.query_tokens)


def test_questions_see_several_items_after_the_first_steps():
    recipe = TrainingRecipe(prompt_steps=1, steps=64, alone=0.25, max_facts=1, pictures=False)
    for most in (3, 8):
        batches = training_data(tiny_backbone("llava"), recipe.model_copy(update={"max_memories": most})).train
        counts = [max(len(one.items) for one in batch["asked"]) for batch in batches]
        assert len(counts) == 64
        assert max(counts[:16]) == 1 and max(counts[16:]) == most


@pytest.mark.usefixtures("few")
def test_an_item_becomes_as_many_vectors_as_asked_for(tmp_path: Path):
    recipe = TrainingRecipe(prompt_steps=1, steps=2, warm_start_steps=2, pictures=False, gradient_checkpointing=True)
    train_encoder(tiny_backbone("llava"), tmp_path, recipe.model_copy(update={"vectors": 3}))
    loaded = MemoryEncoder.from_pretrained(tmp_path, tiny_backbone("llava"))
    assert loaded.encode([loaded.inputs("The door is blue.")]).shape == (1, 3, 64)
    going_on = recipe.model_copy(update={"start": tmp_path})
    on = train_encoder(tiny_backbone("llava"), tmp_path / "on", going_on)
    assert on.encoder_config.qformer.num_query_tokens == 3
    with pytest.raises(AdapterError, match="with another --vectors"):
        train_encoder(tiny_backbone("llava"), tmp_path / "on", going_on.model_copy(update={"vectors": 5}))


def test_query_tokens_of_another_number_lie_between_those_of_the_start(tmp_path: Path):
    _, adapter = save_tiny(tmp_path)
    weights = load_file(adapter / "qformer.safetensors")
    tokens = weights["query_tokens"][0]
    for number, expected in ((4, (tokens[::2] + tokens[1::2]) / 2), (len(tokens), tokens)):
        other = MemoryEncoder.create(tiny_backbone("llava"), num_query_tokens=number, num_attention_heads=4)
        other.load_weights(adapter, resize=True)
        assert torch.equal(other.qformer.query_tokens[0], expected)
        assert torch.equal(other.qformer.proj_in.weight, weights["proj_in.weight"])
    with pytest.raises(AdapterError, match="wrong shape for 1 weights, first 'query_tokens'"):
        MemoryEncoder.create(tiny_backbone("llava"), num_query_tokens=4, num_attention_heads=4).load_weights(adapter)


@pytest.mark.usefixtures("few")
def test_training_goes_on_with_the_settings_of_its_start(tmp_path: Path):
    recipe = TrainingRecipe(prompt_steps=1, steps=1, pictures=False, gradient_checkpointing=True, start=tmp_path)
    lora = LoraSettings(r=4, lora_alpha=4)
    MemoryEncoder.create(tiny_backbone("llava"), num_attention_heads=2, lora=lora).save_pretrained(tmp_path)
    on = train_encoder(tiny_backbone("llava"), tmp_path / "on", recipe)
    assert on.encoder_config.qformer.num_attention_heads == 2
    assert (on.encoder_config.lora.r, on.encoder_config.lora.lora_alpha) == (4, 4)
    with pytest.raises(AdapterError, match="has other weights"):
        train_encoder(tiny_backbone("llava", seed=5), tmp_path / "other", recipe)


@pytest.mark.usefixtures("few")
def test_the_start_is_drawn_from_the_seed(tmp_path: Path):
    recipe = TrainingRecipe(prompt_steps=1, steps=1, warm_start_steps=1, pictures=False, gradient_checkpointing=True)
    first, again, other = (
        train_encoder(
            tiny_backbone("llava"), tmp_path / str(number), recipe.model_copy(update={"seed": seed})
        ).fingerprint
        for number, seed in enumerate((1, 1, 2))
    )
    assert first == again != other


def test_the_warm_start_cuts_long_texts_and_follows_the_model_to_its_device():
    encoder = MemoryEncoder.create(tiny_backbone("llava"), num_attention_heads=4, max_length=128)
    layout = WarmStartLayout(encoder, ["The door is blue. " * 40])
    batch, facts = layout.batch(["The door is blue. " * 40, "The door is blue."])
    assert batch["input_ids"].shape[1] == 128
    inside = facts.inside.sum(1)
    assert inside[1] == len(encoder.backbone.prompts.text_ids("The door is blue."))
    assert inside[1] < inside[0] < 128
    encoder.backbone.model.to("meta")
    assert layout.tokens({"input_ids": batch["input_ids"].to("meta")}).device.type == "meta"
    with pytest.raises(CorpusError, match="No item has a text for the warm start"):
        WarmStartLayout(encoder, [])


def test_names_may_be_words_of_the_vocabulary():
    found = texts(worlds(1, 10, items=4, words=["Quillon"]))
    assert 5 < sum("Quillon" in text for text in found) < 40
    assert {"Kabul", "French", "Kenya"} <= country_words()
    assert not {"Kabul", "French", "Kenya"} & {*vocabulary_words(tiny_backbone("llava"), but=country_words())}


def test_pictures_take_part(tmp_path: Path, pictures: list[Picture]):
    batches = worlds(1, 2, emoji=pictures, pictured=0.5)
    trainer = make_trainer(tmp_path / "run", batches, save_strategy="no", max_steps=2)
    trainer.train()
    tower = [p for n, p in trainer.encoder.named_parameters() if "vision_tower" in n and "lora_B" in n]
    assert any(p.abs().sum() > 0 for p in tower)


# -- recipe --------------------------------------------------------------------------------------------------


def test_settings_of_a_recipe_are_checked_together(tmp_path: Path):
    with pytest.raises(ValueError, match="max_memories 9 exceeds the 8 items of a batch"):
        TrainingRecipe(max_memories=9)
    assert TrainingRecipe(max_memories=9, data=tmp_path).max_memories == 9
    with pytest.raises(ValueError, match=r"max_facts 2 .* but data is .* Leave out max_facts or data"):
        TrainingRecipe(max_facts=2, data=tmp_path)
    for wrong in ({"alone": 1.5}, {"learning_rate": 0}, {"vectors": 0}, {"recommended_mode": "some"}, {"step": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TrainingRecipe(**wrong)


def test_every_setting_is_an_option_of_the_command():
    said = CliRunner().invoke(cli.app, ["train", "--help"], env={"COLUMNS": "400"}).stdout
    for name, field in TrainingRecipe.model_fields.items():
        assert field.description and field.description in said, name
        assert f"--{name.replace('_', '-')} " in said, name
    assert "--no-pictures" in said and "--no-gradient-checkpointing" not in said
    assert f"[default: {TrainingRecipe().warm_start_steps}]" in said


def test_what_the_command_is_given_is_the_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """And what does not go together is told before a model is loaded."""
    given: list[TrainingRecipe] = []

    def noted(backbone: Any, output: Path, recipe: TrainingRecipe) -> MemoryEncoder:
        given.append(recipe)
        return tiny_encoder(tiny_backbone("llama"))

    monkeypatch.setattr(train, "train_encoder", noted)
    base, start = save_tiny(tmp_path)

    def comem(*options: object) -> Result:
        return CliRunner().invoke(cli.app, ["--model", str(base), "train", str(tmp_path / "out"), *map(str, options)])

    assert comem().exit_code == 0
    options = ("--warm-start-steps", 7, "--no-pictures", "--gradient-checkpointing", "--recommended-mode", "memory")
    assert comem(*options, "--start", start, "--alone", 0.25, "--vectors", 4).exit_code == 0
    changed = {"warm_start_steps": 7, "pictures": False, "gradient_checkpointing": True, "recommended_mode": "memory"}
    assert given == [TrainingRecipe(), TrainingRecipe(start=start, alone=0.25, vectors=4, **changed)]
    for options in (("--max-memories", 9), ("--learning-rate", 0), ("--recommended-mode", "some"), ("--alone", 2)):
        refused = comem(*options)
        assert refused.exit_code == 2
    assert "exceeds the 8 items" in comem("--max-memories", 9).output
    assert len(given) == 2
