"""The same numbers and answers whatever a program has set in PyTorch, and what it has set stays as it is."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parity import FOLDER
from helpers.saved import save_tiny
from safetensors.torch import load_file, save_file

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.convert import convert_checkpoint
from comem_memory.encoder import ADAPTER_FILES, MemoryEncoder
from comem_memory.model import Backbone
from comem_memory.opening import default_key
from comem_memory.testing import tiny_key, tiny_picture

Setting = Callable[[], AbstractContextManager[Any]]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def another_thread_changes_the_dtype() -> Iterator[None]:
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            for dtype in (torch.float64, torch.bfloat16, torch.float32):
                torch.set_default_dtype(dtype)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        torch.set_default_dtype(torch.float32)


SETTINGS: dict[str, Setting] = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "meta": lambda: default_device("meta"),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "another thread": another_thread_changes_the_dtype,
}
WHILE_LOADING = [name for name in SETTINGS if name != "another thread"]
"""Transformers sets and reads the process's default dtype while it loads a model, which no other thread may change."""

Life = tuple[list[tuple[str, float | None]], list[np.ndarray], list[str]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_tiny(tmp_path_factory.mktemp("tiny"), "qwen2_5_vl")


def opened(folders: tuple[Path, Path]) -> ContinuousMemory:
    return ContinuousMemory.from_pretrained(str(folders[0]), adapter=folders[1], key=tiny_key())


def life(memory: ContinuousMemory) -> Life:
    """Adds, searches, answers and streams: what is found, with which vectors, and what is said."""
    memory.add(
        [
            MemoryItem(id="door", text="The blue door opens with the brass key."),
            MemoryItem(id="cat", text="A cat.", image=tiny_picture(1)),
        ]
    )
    hits = memory.search("Which key?", tiny_picture(1), k=2)
    said = [memory.answer("Which key?", k=2, mode=mode, max_new_tokens=4).text for mode in ("none", "memory")]
    said += ["".join(memory.stream("Which key?", tiny_picture(2), k=2, mode="both", max_new_tokens=4))]
    return [(hit.id, hit.similarity) for hit in hits], [hit.memory_embeddings.numpy() for hit in hits], said


@pytest.fixture(scope="module")
def undisturbed(folders: tuple[Path, Path]) -> Life:
    with opened(folders) as memory:
        return life(memory)


@pytest.mark.parametrize(
    ("setting", "opened_before"), [*((name, False) for name in WHILE_LOADING), *((name, True) for name in SETTINGS)]
)
def test_a_memory_does_not_depend_on_what_a_program_has_set(
    folders: tuple[Path, Path], undisturbed: Life, setting: str, opened_before: bool
):
    before = opened(folders) if opened_before else None
    with SETTINGS[setting](), before or opened(folders) as memory:
        found, vectors, said = life(memory)
    assert (found, said) == (undisturbed[0], undisturbed[2])
    for one, other in zip(vectors, undisturbed[1], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_family_depends_on_what_a_program_has_set(encoder: MemoryEncoder, setting: str):
    backbone = encoder.backbone
    picture = tiny_picture() if backbone.prompts.supports_images else None

    def numbers() -> tuple[torch.Tensor, list[list[int]]]:
        vectors = encoder.encode([encoder.inputs("A brass key.", picture), encoder.inputs("A cat.")])
        parts = [{"type": "text", "text": "Which?"}, *([{"type": "image", "image": picture}] if picture else [])]
        prompt = backbone.prompts.prompt_inputs([{"role": "user", "content": parts}])
        return vectors, backbone.generate([prompt], [vectors[0]], max_new_tokens=4)

    expected, tokens = numbers()
    with SETTINGS[setting]():
        found, again = numbers()
    assert (found.dtype, found.device.type) == (torch.float32, "cpu")
    assert torch.equal(found, expected)
    assert again == tokens


@pytest.mark.parametrize("setting", WHILE_LOADING)
def test_a_new_encoder_does_not_depend_on_what_a_program_has_set(folders: tuple[Path, Path], setting: str):
    with SETTINGS[setting]():
        encoder = MemoryEncoder.create(Backbone.from_pretrained(str(folders[0])), num_attention_heads=4)
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    assert {(weight.dtype, weight.device.type) for weight in trained} == {(torch.float32, "cpu")}
    batch = encoder.backbone.batch([encoder.inputs("A brass key.").tensors])
    encoder(batch).sum().backward()
    assert encoder.qformer.query_tokens.grad is not None


def default_keys() -> np.ndarray:
    return default_key().item_keys(["A brass key.", "A cat."], [None, tiny_picture()])


@pytest.fixture(scope="module")
def expected_keys() -> np.ndarray:
    return default_keys()


@pytest.mark.parametrize("setting", WHILE_LOADING)
def test_keys_do_not_depend_on_what_a_program_has_set(expected_keys: np.ndarray, setting: str):
    with SETTINGS[setting]():
        np.testing.assert_array_equal(default_keys(), expected_keys)


@pytest.mark.parametrize("setting", ["float64", "meta", "inference_mode", "autocast"])
def test_a_training_does_not_depend_on_what_a_program_has_set(folders: tuple[Path, Path], setting: str, tmp_path: Path):
    pytest.importorskip("accelerate", reason="training needs the `train` extra")
    from comem_memory.training import Item, MemoryTrainer, TrainingQuestion, training_arguments

    def trained(folder: Path) -> dict[str, torch.Tensor]:
        encoder = MemoryEncoder.from_pretrained(folders[1], Backbone.from_pretrained(str(folders[0])))
        items = [Item("The door is blue."), Item("The cat sleeps.", tiny_picture(1))]
        batch = {"items": items, "asked": [TrainingQuestion("Which door?", "blue", [0, 1])], "restated": []}
        arguments = training_arguments(folder, steps=2, learning_rate=1e-2, bf16=False, eval_strategy="no")
        MemoryTrainer(encoder, arguments, [batch, batch], [batch], distillation=0.5).train()
        return {name: weight.detach().clone() for name, weight in encoder.qformer.state_dict().items()}

    expected, start = trained(tmp_path / "expected"), load_file(folders[1] / "qformer.safetensors")
    assert any(not torch.equal(weight, start[name]) for name, weight in expected.items()), "it was trained"
    with SETTINGS[setting]():
        found = trained(tmp_path / "found")
    assert {weight.dtype for weight in found.values()} == {torch.float32}
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize("setting", ["float64", "meta"])
@pytest.mark.parametrize("exact", [False, True])
def test_a_conversion_does_not_depend_on_what_a_program_has_set(setting: str, exact: bool, tmp_path: Path):
    frozen = load_file(FOLDER / "model.safetensors")
    weights = {name.removeprefix("model_inf."): w for name, w in frozen.items() if name.startswith("model_inf.")}
    base = tmp_path / "base"
    base.mkdir()
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    (base / "config.json").write_bytes((FOLDER / "config.json").read_bytes())
    convert_checkpoint(FOLDER, base=base, out=tmp_path / "expected", exact=exact, num_attention_heads=4)
    with SETTINGS[setting]():
        convert_checkpoint(FOLDER, base=base, out=tmp_path / "found", exact=exact, num_attention_heads=4)
    for name in ADAPTER_FILES:
        assert (tmp_path / "found" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()


def test_random_numbers_are_the_callers(folders: tuple[Path, Path]):
    def drawn() -> tuple[Any, ...]:
        return torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()

    with opened(folders) as memory:

        def seed() -> None:
            torch.manual_seed(3)
            np.random.seed(3)
            random.seed(3)

        seed()
        expected = drawn()
        seed()
        life(memory)
        memory.answer("Which key?", do_sample=True, seed=5, max_new_tokens=4)
        assert drawn() == expected


def test_what_a_program_has_set_stays(folders: tuple[Path, Path]):
    with opened(folders) as memory, default_dtype(torch.float64), default_device("meta"), torch.no_grad():
        life(memory)
        made = torch.ones(1)
        assert (made.dtype, made.device.type, torch.is_grad_enabled()) == (torch.float64, "meta", False)
