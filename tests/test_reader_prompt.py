"""Reader prompts are trained alone, on everything that stands behind them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.saved import save_tiny
from transformers import TrainerCallback

pytest.importorskip("faker", reason="training needs the `train` extra")

from comem_memory.encoder import MemoryEncoder
from comem_memory.encoder.copied_tokens import copies
from comem_memory.synthesis.drafts import WorldDrafts
from comem_memory.synthesis.groups import Mixture
from comem_memory.testing import tiny_backbone
from comem_memory.training import data
from comem_memory.training.data import training_data
from comem_memory.training.draft_batches import DraftBatches
from comem_memory.training.reader_prompt import ReaderPromptTrainer, start_from_memories, train_reader_prompts
from comem_memory.training.recipe import TrainingRecipe
from comem_memory.training.train import train_encoder
from comem_memory.training.trainer import training_arguments
from comem_memory.training.warm_start import texts_of

MIXTURE = Mixture(languages=("english",), pictured=0.0, items=3, questions=4, max_facts=2)


def batches(number: int, seed: int = 1) -> DraftBatches:
    drafts = WorldDrafts(seed, {"train": MIXTURE})
    return DraftBatches(drafts, "train", seed=seed, num_batches=number, max_memories=1, restated_share=1.0)


TEXTS = texts_of(batches(8))


@pytest.fixture
def encoder() -> MemoryEncoder:
    torch.manual_seed(0)
    return MemoryEncoder.create(tiny_backbone("llava"), num_attention_heads=4, max_length=1024, num_reader_tokens=3)


def others(encoder: MemoryEncoder) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in encoder.named_parameters() if "_prompt" not in name}


# -- training ------------------------------------------------------------------------------------------------


def make_trainer(encoder: MemoryEncoder, folder: Path, train: Any, **changes: Any) -> ReaderPromptTrainer:
    settings = {"bf16": False, "use_cpu": True, "save_strategy": "no", "disable_tqdm": True, "warmup_steps": 0}
    arguments = training_arguments(folder, **{"steps": len(train), "learning_rate": 0.02} | settings | changes)
    return ReaderPromptTrainer(encoder, arguments, train, batches(1, 2))


def test_the_prompts_learn_and_nothing_else_changes(encoder: MemoryEncoder, tmp_path: Path):
    batch = batches(1)[0]
    trainer = make_trainer(encoder, tmp_path, [batch] * 30, eval_steps=15)
    before, fingerprint = others(encoder), encoder.fingerprint
    prompts = [prompt.detach().clone() for prompt in encoder.reader_prompts]
    first = trainer._losses(batch)
    trainer.train()
    last = trainer._losses(batch)
    assert set(first) == {"memory", "text", "both", "restated"}
    assert all(last[given] < first[given] for given in first)
    assert all(not torch.equal(now, then) for now, then in zip(encoder.reader_prompts, prompts, strict=True))
    assert all(torch.equal(weight, before[name]) for name, weight in others(encoder).items())
    assert encoder.fingerprint == fingerprint
    entries = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert [entry["step"] for entry in entries] == [15, 30]
    assert all(f"eval_{given}_loss" in entry for given in first for entry in entries)


def test_what_stands_behind_the_prompt(encoder: MemoryEncoder, tmp_path: Path):
    """Each loss is the frozen model's own, behind the prompt and what is given."""
    batch = batches(1)[0]
    trainer = make_trainer(encoder, tmp_path, [batch])
    bare = tiny_backbone("llava")

    def loss(content: str, answer: str, *vectors: torch.Tensor) -> float:
        prompt = bare.prompts.prompt_inputs([{"role": "user", "content": content}], answer=answer)
        with torch.no_grad():
            logits, tokens = bare.answer_logits([prompt], [len(bare.prompts.answer_ids(answer))], [torch.cat(vectors)])
        return torch.nn.functional.cross_entropy(logits, tokens, reduction="sum").item()

    def expected(turn: int, template: str, *, vectors: bool = True) -> float:
        losses, tokens = 0.0, 0
        for asked in batch["asked"][turn::3]:
            [item] = [batch["items"][i] for i in asked.items]
            own = encoder.encode([encoder.inputs(item.text)])[0]
            given = [encoder.reader_prompt, *([own] if vectors else [])]
            content = template.format(context=item.text, question=asked.question)
            losses += loss(content, asked.answer, *given)
            tokens += len(bare.prompts.answer_ids(asked.answer))
        return losses / tokens

    found = {given: loss.item() for given, loss in trainer._losses(batch).items()}
    assert found["memory"] == pytest.approx(expected(0, "{question}"), rel=1e-4)
    text = "Context:\n{context}\n\nAnswer the question using the context above.\n\nQuestion: {question}\nAnswer:"
    assert found["text"] == pytest.approx(expected(1, text, vectors=False), rel=1e-4)
    assert found["both"] == pytest.approx(expected(2, "{context}\n\n{question}"), rel=1e-4)


def test_a_finished_training_is_not_repeated(tmp_path: Path):
    def train(steps: int) -> MemoryEncoder:
        torch.manual_seed(0)
        encoder = MemoryEncoder.create(tiny_backbone("llava"), num_attention_heads=4, num_reader_tokens=3)
        train_reader_prompts(encoder, tmp_path, batches(steps), batches(1, 2), learning_rate=0.01)
        return encoder

    first = train(2)
    written = (tmp_path / "config.json").stat().st_mtime_ns
    assert torch.equal(train(2).reader_prompt, first.reader_prompt)
    assert (tmp_path / "config.json").stat().st_mtime_ns == written


def test_an_interrupted_training_resumes_exactly(tmp_path: Path):
    class Interrupt(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step >= 2

    def make(folder: str) -> ReaderPromptTrainer:
        torch.manual_seed(0)
        encoder = MemoryEncoder.create(tiny_backbone("llava"), num_attention_heads=4, num_reader_tokens=3)
        often = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "no"}
        return make_trainer(encoder, tmp_path / folder, batches(4), **often)

    whole, interrupted = make("whole"), make("interrupted")
    whole.train()
    interrupted.add_callback(Interrupt())
    interrupted.train()
    resumed = make("interrupted")
    resumed.train(resume_from_checkpoint=resumed.last_checkpoint())
    for now, expected in zip(resumed.encoder.reader_prompts, whole.encoder.reader_prompts, strict=True):
        assert torch.equal(now, expected)


@pytest.mark.parametrize("function_tokens", [None, [5, 6]], ids=["plain", "copying"])
def test_prompts_start_as_what_all_vectors_have_in_common(function_tokens: list[int] | None):
    settings = {"num_attention_heads": 4, "num_reader_tokens": 3, "function_tokens": function_tokens}
    encoder = MemoryEncoder.create(tiny_backbone("llava"), **settings)
    start_from_memories(encoder, TEXTS)
    inputs = [encoder.inputs(text) for text in TEXTS]
    mean = torch.cat([encoder(encoder.backbone.batch([one.tensors])) for one in inputs]).mean(0)  # without copies
    expected = torch.nn.functional.interpolate(mean.T[None], size=3, mode="linear")[0].T
    torch.testing.assert_close(encoder.reader_prompt.data, expected)
    assert torch.equal(encoder.reader_prompt, encoder.restate_prompt)


def test_reader_prompts_alone_keep_the_vectors_of_their_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data, "TYPICAL", 8)
    _, adapter = save_tiny(tmp_path)
    start = MemoryEncoder.from_pretrained(adapter, tiny_backbone("llava"))
    start.save_pretrained(tmp_path / "start", dtype=torch.bfloat16)
    recipe = TrainingRecipe(
        copied=False,
        steps=0,
        prompt_steps=2,
        reader_tokens=4,
        pictures=False,
        gradient_checkpointing=True,
        start=tmp_path / "start",
    )
    made = train_encoder(tiny_backbone("llava"), tmp_path / "made", recipe)
    assert made.reader_prompt.shape == (4, 64) and not torch.equal(made.reader_prompt, made.restate_prompt)
    begun = MemoryEncoder.from_pretrained(tmp_path / "start", tiny_backbone("llava"))
    assert made.fingerprint.digest == begun.fingerprint.digest
    loaded = MemoryEncoder.from_pretrained(tmp_path / "made", tiny_backbone("llava"))  # float32, as `begun`
    inputs = loaded.inputs("The door is blue.")
    torch.testing.assert_close(loaded.encode([inputs]), begun.encode([inputs]))
    on = train_encoder(
        tiny_backbone("llava"),
        tmp_path / "on",
        recipe.model_copy(update={"start": tmp_path / "made", "prompt_steps": 0}),
    )
    assert torch.equal(on.reader_prompt, made.reader_prompt), "a start's own prompts are kept"


def test_an_adapter_can_go_on_as_one_that_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data, "TYPICAL", 8)
    _, adapter = save_tiny(tmp_path)
    recipe = TrainingRecipe(
        copied=True, steps=0, prompt_steps=0, pictures=False, gradient_checkpointing=True, start=adapter
    )
    made = train_encoder(tiny_backbone("llava"), tmp_path / "made", recipe)
    loaded = MemoryEncoder.from_pretrained(tmp_path / "made", tiny_backbone("llava"))
    begun = MemoryEncoder.from_pretrained(adapter, tiny_backbone("llava"))
    assert made.fingerprint.digest == loaded.fingerprint.digest != begun.fingerprint.digest
    inputs = made.inputs("The door is blue.")
    batch = made.backbone.batch([inputs.tensors])
    with torch.no_grad():
        corrected = copies([inputs.copied], made.backbone) + made(batch)
        correction, whole = made(batch), begun(batch)
    torch.testing.assert_close(made.encode([inputs]), corrected)
    torch.testing.assert_close(correction, 0.1 * whole, rtol=0.05, atol=1e-3)


def test_another_seed_trains_the_prompts_on_other_items():
    def drawn(seed: int) -> list[str | None]:
        recipe = TrainingRecipe(steps=0, prompt_steps=1, pictures=False, seed=seed)
        return [item.text for item in training_data(tiny_backbone("llava"), recipe).prompts[0]["items"]]

    assert drawn(1) == drawn(1)
    assert not {*drawn(1)} & {*drawn(2)}
