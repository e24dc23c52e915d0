"""The start of training: hidden states learn to say what they stand on, and a fitted Q-Former reads them in order."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("faker", reason="training needs the `train` extra")

from comem_memory.config import QFormerConfig
from comem_memory.encoder import MemoryEncoder, QFormer
from comem_memory.synthesis.drafts import WorldDrafts
from comem_memory.synthesis.groups import Mixture
from comem_memory.testing import Family, tiny_backbone
from comem_memory.training.batches import Batch, Item
from comem_memory.training.draft_batches import DraftBatches
from comem_memory.training.qformer_fit import END, STRETCH, fit_qformer
from comem_memory.training.trainer import training_arguments
from comem_memory.training.warm_start import OUTSIDE, TokenFacts, WarmStartLayout, WarmStartTrainer, texts_of

MIXTURE = Mixture(languages=("english",), pictured=0.0, items=8, questions=1)
BATCHES = DraftBatches(WorldDrafts(3, {"train": MIXTURE}), "train", seed=3, num_batches=80)
TEXTS = texts_of(BATCHES[i] for i in range(8))


def make_layout(family: Family = "llava") -> WarmStartLayout:
    torch.manual_seed(0)
    encoder = MemoryEncoder.create(tiny_backbone(family), num_attention_heads=4, max_length=1024)
    return WarmStartLayout(encoder, TEXTS)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "llama"])
def test_facts_lie_on_the_texts_tokens(family: Family):
    layout = make_layout(family)
    texts = ["Ab", "The door is blue, says Ann."]
    batch, facts = layout.batch(texts)
    for row, text in enumerate(texts):
        ids = batch["input_ids"][row][facts.inside[row]]
        assert layout.backbone.decode(ids.tolist()) == text
        place = facts.place[row][facts.inside[row]]
        torch.testing.assert_close(place, (1 + torch.arange(len(ids)) / STRETCH).log() - END / 2)
    assert torch.equal(facts.weight == OUTSIDE, ~facts.inside)


def test_rare_tokens_weigh_more():
    layout = make_layout()
    [often], [never] = layout.backbone.prompts.text_ids(" "), layout.backbone.prompts.text_ids("~")
    assert not any("~" in text for text in TEXTS)
    assert layout.weights[never] == 1
    assert layout.weights[often] < 0.02


def make_trainer(layout: WarmStartLayout, folder: Path, steps: int) -> WarmStartTrainer:
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
    return WarmStartTrainer(layout, TEXTS, arguments, BATCHES, [BATCHES[79]])


def test_hidden_states_learn_to_say_what_they_stand_on(tmp_path: Path):
    layout = make_layout()
    frozen = {n: p.detach().clone() for n, p in layout.backbone.model.named_parameters() if "lora_" not in n}
    trainer = make_trainer(layout, tmp_path, 40)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.8 * before
    now = dict(layout.backbone.model.named_parameters())
    assert all(torch.equal(now[name], weight) for name, weight in frozen.items())


def test_a_batch_without_any_text_leaves_the_weights_finite(tmp_path: Path):
    layout = make_layout("qwen2_5_vl")
    trainer = make_trainer(layout, tmp_path, steps=1)
    pictures_alone = Batch(items=[Item(""), Item("")], asked=[], restated=[])
    loss = trainer.compute_loss(layout.encoder, pictures_alone)
    loss.backward()
    assert loss.isfinite()
    lora = [p.grad for name, p in layout.encoder.named_parameters() if "lora_" in name and p.grad is not None]
    assert lora and all(gradient.isfinite().all() for gradient in lora)


def test_the_fitted_qformer_averages_rare_tokens_around_each_place():
    """On hidden states that say exactly what they stand on, the start is what the docstring says it is."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    width, length = 256, 100
    vocabulary = random(300, 200) @ torch.linalg.qr(random(width, 200))[0].T  # leaves directions free
    rarity = torch.rand(300, generator=generator) * 0.95 + 0.05
    place = (1 + torch.arange(length) / STRETCH).log() - END / 2
    mix = torch.linalg.qr(random(width, width))[0]
    rows, hidden = [torch.randint(300, (length,), generator=generator) for _ in range(60)], []
    facts = [TokenFacts(torch.ones(length, dtype=torch.bool), place, rarity[ids]) for ids in rows]
    free = torch.linalg.svd(vocabulary).Vh[200:203]
    for ids, fact in zip(rows, facts, strict=True):
        hidden.append((vocabulary[ids] + fact.features @ (10 * free)) @ mix)
    qformer = QFormer(QFormerConfig(hidden_size=width, num_attention_heads=4))
    mean, std = random(width), torch.rand(width, generator=generator) + 0.5
    qformer.init_identity(mean, std)
    with torch.no_grad():
        fit_qformer(
            qformer,
            torch.cat(hidden),
            vocabulary[torch.cat(rows)],
            torch.cat([fact.features for fact in facts]),
            torch.cat([fact.weight for fact in facts]),
        )
        memory = (qformer(torch.stack(hidden[:10])) - mean) / std  # (B, Q, H)
    spacing = END / 8
    places = (torch.arange(8) + 0.5) * spacing - END / 2
    alike = torch.zeros(8, 8)
    for ids, said in zip(rows, memory, strict=False):
        near = -((place - places[:, None]) / spacing).square() / 2 + rarity[ids].log()  # (Q, T)
        expected = near.softmax(-1) @ vocabulary[ids]
        alike += torch.cosine_similarity(said[:, None], expected, dim=-1) / 10
    assert torch.equal(alike.argmax(1), torch.arange(8)), alike  # each reads its own part ...
    assert alike.diag().mean() > 0.7  # ... as written down, up to what LayerNorm changes
    assert max(alike[0, 7], alike[7, 0]) < 0.25
