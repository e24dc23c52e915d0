"""Retrieval keys: what a score means, the embedders, and flags of countries found by another artist's."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.saved import save_tiny
from PIL import Image
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipProcessor,
)

from comem_memory import Backbone, ContinuousMemory, MemoryItem
from comem_memory.errors import EncoderMismatchError, InvalidItemError, ModelError, QueryError
from comem_memory.files import load_image
from comem_memory.mini import efficientnet_weights, minilm_directory
from comem_memory.opening import EARLIER_DEFAULT, open_key
from comem_memory.retrieval import (
    PROBE,
    EfficientNetEmbedder,
    Embedder,
    RetrievalKey,
    SentenceTransformerEmbedder,
)
from comem_memory.retrieval.efficientnet import EfficientNetLite0, EfficientNetLite0Config
from comem_memory.synthesis.countries import FOLDER as COUNTRIES


@cache
def embedded(name: str) -> RetrievalKey:
    """One of the keys that need no model hub, loaded once."""
    return open_key(name)


class Letters:
    """Counts letters: similar texts are close."""

    name, dimension = "letters", 26

    def embed(self, inputs: Sequence[str]) -> np.ndarray:
        counts = np.array([[text.lower().count(chr(97 + n)) + 1e-3 for n in range(26)] for text in inputs])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


class Upside(Letters):
    """Embeds questions as they are read backwards, so to say."""

    def embed_queries(self, inputs: Sequence[str]) -> np.ndarray:
        return self.embed(inputs)[:, ::-1]


class Colours:
    """The mean colour: similar pictures are close."""

    name, dimension = "colours", 3

    def embed(self, inputs: Sequence[Image.Image]) -> np.ndarray:
        means = np.array([np.asarray(image.convert("RGB"), float).mean((0, 1)) - 127.5 for image in inputs])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def colour(name: str) -> Image.Image:
    return Image.new("RGB", (4, 4), name)


@pytest.fixture(params=[0.2, 0.5, 0.9])
def retrieval_key(request: pytest.FixtureRequest) -> RetrievalKey:
    return RetrievalKey(Letters(), Colours(), text_weight=request.param)


def cosines(key: RetrievalKey, text: str, image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    assert key.text is not None and key.image is not None
    return key.text.embed(TEXTS) @ key.text.embed([text])[0], key.image.embed(IMAGES) @ key.image.embed([image])[0]


TEXTS = ["a blue door", "a red lamp", "green grass"]
IMAGES = [colour("blue"), colour("red"), colour("green")]


def test_a_one_part_query_scores_the_plain_cosine(retrieval_key: RetrievalKey):
    items = retrieval_key.item_keys(TEXTS, IMAGES)
    assert items.shape == (3, retrieval_key.dimension) == (3, 29) and items.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1, atol=1e-6)
    by_text, by_image = cosines(retrieval_key, "blue dart", colour("pink"))
    query = retrieval_key.query_key("blue dart")
    assert query.shape == (29,) and query.dtype == np.float32
    np.testing.assert_allclose(items @ query, by_text, atol=1e-6)
    np.testing.assert_allclose(items @ retrieval_key.query_key(image=colour("pink")), by_image, atol=1e-6)


def test_a_query_of_both_scores_the_weighted_mean(retrieval_key: RetrievalKey):
    items = retrieval_key.item_keys(TEXTS, IMAGES)
    by_text, by_image = cosines(retrieval_key, "blue dart", colour("pink"))
    w = retrieval_key.text_weight
    scores = items @ retrieval_key.query_key("blue dart", colour("pink"))
    np.testing.assert_allclose(scores, w * by_text + (1 - w) * by_image, atol=1e-6)
    np.testing.assert_allclose(items[0] @ retrieval_key.query_key(TEXTS[0], IMAGES[0]), 1, atol=1e-6)


def test_what_the_texts_give_to_a_score_and_what_the_pictures_give(retrieval_key: RetrievalKey):
    by_text, by_image = cosines(retrieval_key, "blue dart", colour("pink"))
    query, w = retrieval_key.query_key("blue dart", colour("pink")), retrieval_key.text_weight
    items = retrieval_key.item_keys(TEXTS, IMAGES)
    of_texts = np.array([retrieval_key.of_texts(query, key) for key in items])
    np.testing.assert_allclose(of_texts, w * by_text, atol=1e-6)
    np.testing.assert_allclose(items @ query - of_texts, (1 - w) * by_image, atol=1e-6)


@pytest.mark.parametrize("key", [RetrievalKey(Letters()), RetrievalKey(image=Colours())], ids=["texts", "pictures"])
def test_a_key_of_one_part_gives_it_the_whole_score(key: RetrievalKey):
    query, [item] = key.query_key(TEXTS[0], IMAGES[0]), key.item_keys(TEXTS[:1], IMAGES[:1])
    assert key.of_texts(query, item) == pytest.approx(item @ query if key.text else 0)


def test_what_an_item_lacks_scores_zero(retrieval_key: RetrievalKey):
    text_only, image_only = retrieval_key.item_keys(["a blue door", "  "], [None, colour("blue")])
    assert text_only @ retrieval_key.query_key("a blue door") == pytest.approx(1)
    assert image_only @ retrieval_key.query_key("a blue door") == 0
    assert text_only @ retrieval_key.query_key(None, colour("blue")) == 0
    both = retrieval_key.query_key("a blue door", colour("blue"))
    assert text_only @ both == pytest.approx(retrieval_key.text_weight)
    assert image_only @ both == pytest.approx(1 - retrieval_key.text_weight)


def test_the_part_whose_first_hit_stands_out_gets_the_larger_share(retrieval_key: RetrievalKey):
    items = retrieval_key.item_keys(TEXTS, IMAGES)
    by_text, by_image = cosines(retrieval_key, "blue dart", colour("pink"))

    def share(text: list[float], image: list[float]) -> float:
        answers = iter([text, image])
        asked: list[np.ndarray] = []

        def best(key: np.ndarray) -> Sequence[float]:
            asked.append(items @ key)
            return next(answers)

        query = retrieval_key.query_key("blue dart", colour("pink"), best=best)
        np.testing.assert_allclose(asked, [by_text, by_image], atol=1e-6)
        share = (items @ query - by_image)[0] / (by_text - by_image)[0]
        np.testing.assert_allclose(items @ query, share * by_text + (1 - share) * by_image, atol=1e-5)
        return float(share)

    assert share([0.9, 0.1, 0.1], [0.5, 0.4, 0.4]) == pytest.approx(64 / 65, abs=1e-3)
    assert share([0.3, 0.3], [0.5, 0.4]) == pytest.approx(0, abs=1e-4)
    for nothing_to_learn in ([], [0.7], [0.7, 0.7]):
        assert share(nothing_to_learn, nothing_to_learn) == pytest.approx(retrieval_key.text_weight, abs=1e-4)


def test_one_embedder_is_enough():
    texts = RetrievalKey(Letters())
    assert (texts.name, texts.dimension) == ("letters", 26)
    items = texts.item_keys(TEXTS, IMAGES)
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1, atol=1e-6)
    assert np.argmax(items @ texts.query_key("lamp, red", colour("blue"))) == 1
    images = RetrievalKey(image=Colours())
    assert np.argmax(images.item_keys(TEXTS, IMAGES) @ images.query_key("red lamp", colour("blue"))) == 0
    with pytest.raises(InvalidItemError, match="embeds texts only"):
        texts.item_keys(["a", None], [None, colour("red")])
    with pytest.raises(QueryError, match="embeds images only"):
        images.query_key("a red lamp")


def test_nothing_to_embed(retrieval_key: RetrievalKey):
    with pytest.raises(QueryError, match="nothing to search for"):
        retrieval_key.query_key()
    with pytest.raises(QueryError, match="nothing to search for"):
        retrieval_key.query_key(" \n")
    with pytest.raises(ValueError, match="neither text nor image"):
        RetrievalKey()
    assert retrieval_key.item_keys([], []).shape == (0, 29)


@pytest.mark.parametrize("weight", [0, 1, -1, float("nan")])
def test_a_weight_leaves_both_parts_something(weight: float):
    with pytest.raises(ValueError, match="text_weight"):
        RetrievalKey(Letters(), Colours(), text_weight=weight)


def test_questions_are_embedded_as_such_where_the_embedder_tells_them_apart():
    plain, key = RetrievalKey(Letters(), Colours()), RetrievalKey(Upside(), Colours())
    np.testing.assert_array_equal(key.item_keys(TEXTS, IMAGES), plain.item_keys(TEXTS, IMAGES))
    np.testing.assert_array_equal(key.query_key("a lamp")[:26], plain.query_key("a lamp")[:26][::-1])
    np.testing.assert_array_equal(key.query_key(image=IMAGES[0]), plain.query_key(image=IMAGES[0]))


def test_the_name_tells_keys_apart():
    names = [
        RetrievalKey(Letters()).name,
        RetrievalKey(image=Colours()).name,
        RetrievalKey(Letters(), Colours()).name,
        RetrievalKey(Letters(), Colours(), text_weight=0.6).name,
    ]
    assert len(set(names)) == 4


# Models


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    letters = [chr(97 + n) for n in range(26)]
    tokens = letters + [letter + "</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={token: n for n, token in enumerate(tokens)}, merges=[])
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    config = CLIPConfig(
        text_config={**size, **ends, "vocab_size": len(tokens), "max_position_embeddings": 16},
        vision_config={**size, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    directory = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(directory)
    CLIPProcessor(images, tokenizer).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def random_efficientnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("efficientnet") / "weights.safetensors"
    model = EfficientNetLite0(EfficientNetLite0Config())
    save_file({**model.state_dict(), "_fc.weight": torch.zeros(1)}, file)
    return file


def noise(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def of_pictures(embedder: SentenceTransformerEmbedder) -> SentenceTransformerEmbedder:
    images = embedder.for_images()
    assert images is not None
    return images


@pytest.fixture(params=["clip text", "clip image", "siglip text", "siglip image", "efficientnet"])
def embedder(request: pytest.FixtureRequest) -> tuple[Callable[[], Embedder], list[Any]]:
    """A way to make the embedder again, and three inputs."""
    pictures = [noise(0), noise(1, (64, 64)), colour("red")]
    if request.param == "efficientnet":
        file = request.getfixturevalue("random_efficientnet")
        return lambda: EfficientNetEmbedder(file), pictures
    family, part = request.param.split()
    directory = request.getfixturevalue(f"tiny_{family}")
    if part == "text":
        return lambda: SentenceTransformerEmbedder(directory), [
            "a",
            "a much longer text than the window " * 5,
            "dog",
        ]
    return lambda: of_pictures(SentenceTransformerEmbedder(directory)), pictures


def test_embedders_keep_their_promise(embedder: tuple[Callable[[], Embedder], list[Any]]):
    make, inputs = embedder
    one, two = make(), make()
    vectors = one.embed(inputs)
    assert vectors.shape == (3, one.dimension) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert one.name == two.name
    np.testing.assert_array_equal(vectors, two.embed(inputs))
    alone = np.concatenate([one.embed([each]) for each in inputs])
    np.testing.assert_allclose(vectors, alone, atol=1e-5)
    many = one.embed(inputs * 7)
    np.testing.assert_allclose(many, np.tile(vectors, (7, 1)), atol=1e-5)
    assert one.embed([]).shape == (0, one.dimension)
    assert not np.array_equal(vectors[0], vectors[1])


def test_clip_is_the_model_s_own_similarity(tiny_clip: Path):
    model, processor = CLIPModel.from_pretrained(tiny_clip), CLIPProcessor.from_pretrained(tiny_clip)
    texts, images = ["dog", "a cat"], [noise(0), noise(1)]
    with torch.inference_mode():
        batch = processor(text=texts, images=images, padding=True, return_tensors="pt")
        expected = model(**batch).logits_per_text / model.logit_scale.exp()
    by_text = SentenceTransformerEmbedder(tiny_clip)
    by_image = of_pictures(by_text)
    np.testing.assert_allclose(by_text.embed(texts) @ by_image.embed(images).T, expected.numpy(), atol=1e-5)
    assert by_text.name != by_image.name


def test_the_agents_key_is_the_cosine_of_both_features_beside_each_other(tiny_clip: Path):
    model, processor = CLIPModel.from_pretrained(tiny_clip), CLIPProcessor.from_pretrained(tiny_clip)

    def features(text: str | None, image: Image.Image | None) -> np.ndarray:
        """One after the other as the agents' code has them, zeros for what is missing."""
        parts = [torch.zeros(24), torch.zeros(24)]
        with torch.inference_mode():
            if text is not None:
                words = processor(text=[text], return_tensors="pt", padding=True, truncation=True, max_length=16)
                parts[0] = model.get_text_features(**words).pooler_output[0]
            if image is not None:
                parts[1] = model.get_image_features(**processor(images=[image], return_tensors="pt")).pooler_output[0]
        return torch.cat(parts).numpy()

    long = "shop a: buy the cheapest lamp that has a good rating " * 3
    items = [("shop a: buy a lamp", noise(0)), ("wiki b: find a town", None), (None, noise(1)), (long, noise(2))]
    asked = [("shop a: buy a chair", noise(3)), ("shop a: buy a chair", None), (None, noise(3))]
    key = open_key(f"concatenated:{tiny_clip}")
    found = key.item_keys(*zip(*items, strict=True)) @ np.stack([key.query_key(*one) for one in asked]).T
    for row, item in enumerate(items):
        for column, one in enumerate(asked):
            a, b = features(*item), features(*one)
            assert found[row, column] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)
    [both], asked_both = key.item_keys(*zip(items[0], strict=True)), key.query_key(*asked[0])
    a, b = features(*items[0]), features(*asked[0])
    by_texts = a[:24] @ b[:24] / np.linalg.norm(a) / np.linalg.norm(b)
    assert key.of_texts(asked_both, both) == pytest.approx(by_texts, abs=1e-5)
    assert key.name != open_key(tiny_clip).name
    with pytest.raises(QueryError, match="nothing to search for"):
        key.query_key(" ")


@pytest.fixture(scope="module")
def tiny_siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    letters = [chr(97 + n) for n in range(26)]
    tokens = letters + [letter + "</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = {"vocab_size": len(tokens), "max_position_embeddings": 16, "pad_token_id": 53, "projection_size": 32}
    config = SiglipConfig(text_config={**size, **words}, vision_config={**size, "image_size": 32, "patch_size": 8})
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    tokenizer = CLIPTokenizer(vocab={token: n for n, token in enumerate(tokens)}, merges=[])
    directory = tmp_path_factory.mktemp("siglip")
    SiglipModel(config).save_pretrained(directory)
    SiglipProcessor(images, tokenizer).save_pretrained(directory)
    return directory


def test_siglip_reads_texts_padded_to_full_length(tiny_siglip: Path):
    model, processor = SiglipModel.from_pretrained(tiny_siglip), SiglipProcessor.from_pretrained(tiny_siglip)
    texts, images = ["dog", "a cat"], [noise(0), noise(1)]
    with torch.inference_mode():
        batch = processor(text=texts, images=images, padding="max_length", max_length=16, return_tensors="pt")
        output = model(**batch)
    by_text = SentenceTransformerEmbedder(tiny_siglip)
    by_image = of_pictures(by_text)
    expected = (output.logits_per_text - model.logit_bias) / model.logit_scale.exp()
    np.testing.assert_allclose(by_text.embed(texts) @ by_image.embed(images).T, expected.detach().numpy(), atol=1e-5)


def test_a_model_of_texts_and_pictures_is_loaded_once(tiny_clip: Path):
    by_text = SentenceTransformerEmbedder(tiny_clip)
    assert of_pictures(by_text)._model is by_text._model


# Long texts, prompts, languages


def test_a_text_longer_than_the_window_is_read_in_overlapping_windows(tiny_clip: Path):
    embedder, text = SentenceTransformerEmbedder(tiny_clip), "".join("abcdefghij"[n % 10] for n in range(100))
    model = embedder._model  # reads 16 tokens: 14 letters, a beginning and an end
    windows = [text[begin : begin + 14] for begin in (0, 10, 21, 32, 43, 53, 64, 75, 86)]
    each = model.encode(windows)
    expected = (each / np.linalg.norm(each, axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(embedder.embed([text])[0], expected / np.linalg.norm(expected), atol=1e-5)
    [short] = embedder.embed([text[:14]])
    np.testing.assert_allclose(short, each[0] / np.linalg.norm(each[0]), atol=1e-5)
    assert abs(embedder.embed([text]) - embedder.embed([text[:90] + "zz" * 5])).max() > 1e-3


def long_texts(days: int, place: int | None) -> list[str]:
    """Three items of some 13 word pieces a day, each of its own shop, with a fact after `place` days or without."""
    texts = []
    for shop, (told, _) in zip(("bakery", "garage", "library"), TOLD, strict=True):
        said = [f"On day {day} the {shop} opened at nine and closed at six." for day in range(days)]
        texts.append(" ".join(said if place is None else [*said[:place], told, *said[place:]]))
    return texts


TOLD = [
    ("The safe code is 4711.", "With which digits does one open the safe?"),
    ("The piano teacher is called Marta.", "What is the name of the person who teaches the piano?"),
    ("The flight to Lisbon leaves at noon.", "When do we fly to Portugal?"),
]


@pytest.mark.parametrize(("name", "days"), [("all-MiniLM-L6-v2", 22), ("multilingual-e5-small", 55)])
def test_a_fact_brings_a_long_item_nearer_to_its_question_wherever_it_stands(name: str, days: int):
    text = embedded(name).text
    assert isinstance(text, SentenceTransformerEmbedder)
    asked = text.embed_queries([question for _, question in TOLD])
    without = text.embed(long_texts(days, None))
    for place in (0, days // 2, days):
        nearer = (asked * (text.embed(long_texts(days, place)) - without)).sum(axis=1)
        assert (nearer > 0.04).all(), (place, nearer)


def with_prompts(source: Path, folder: Path, **prompts: str) -> SentenceTransformerEmbedder:
    model = SentenceTransformer(str(source), prompts=prompts)
    model.max_seq_length = 16
    model.save(str(folder))
    return SentenceTransformerEmbedder(folder)


@pytest.mark.parametrize("item", ["document", "passage", "corpus"])
def test_a_models_prompts_stand_before_questions_and_items(tiny_clip: Path, tmp_path: Path, item: str):
    plain = SentenceTransformerEmbedder(tiny_clip)
    embedder = with_prompts(tiny_clip, tmp_path, query="ask ", **{item: "told "})
    np.testing.assert_allclose(embedder.embed_queries(["dog"]), plain.embed(["ask dog"]), atol=1e-5)
    np.testing.assert_allclose(embedder.embed(["dog"]), plain.embed(["told dog"]), atol=1e-5)
    assert embedder.embed(["dog " * 100]).shape == (1, 24)
    assert embedder.name != plain.name
    assert of_pictures(embedder).name == of_pictures(plain).name


def test_a_model_that_puts_one_prompt_before_everything_keeps_its_name(tiny_clip: Path, tmp_path: Path):
    plain = SentenceTransformerEmbedder(tiny_clip)
    SentenceTransformer(str(tiny_clip), prompts={"any": "said "}, default_prompt_name="any").save(str(tmp_path))
    embedder = SentenceTransformerEmbedder(tmp_path)
    assert embedder.name == plain.name
    for vectors in (embedder.embed(["dog"]), embedder.embed_queries(["dog"])):
        np.testing.assert_allclose(vectors, plain.embed(["said dog"]), atol=1e-5)


def test_the_default_key_finds_in_many_languages():
    measured = json.loads((Path(__file__).parent.parent / "benchmarks" / "retrieval_keys.json").read_text("utf-8"))
    facts = measured["languages"]
    text = embedded("multilingual-e5-small").text
    assert isinstance(text, SentenceTransformerEmbedder)
    english = text.embed_queries([question for _, question in facts["English"]])
    for language in ("Russian", "Hindi", "Arabic", "Chinese", "Thai"):
        items = text.embed([told for told, _ in facts[language]])
        asked = text.embed_queries([question for _, question in facts[language]])
        for questions in (asked, english):
            found = (questions @ items.T).argmax(axis=1) == np.arange(len(items))
            assert found.mean() >= 0.65, language
        assert abs(np.triu(items @ items.T, 1)).mean() < 0.25  # what has nothing in common is about 0


# From a name or folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_key_of_a_model_for_texts_and_pictures(
    request: pytest.FixtureRequest, family: str, packed: bool, tmp_path: Path
):
    directory: Path = request.getfixturevalue(f"tiny_{family}")
    if packed:  # as sentence-transformers saves such a model
        SentenceTransformer(str(directory)).save(str(tmp_path))
        directory = tmp_path
    key = open_key(directory)
    assert key.dimension == 2 * {"clip": 24, "siglip": 32}[family]
    items = key.item_keys(["dog", "cat", None], [None, noise(1), noise(2)])
    assert items @ key.query_key("dog") == pytest.approx([1, items[1] @ key.query_key("dog"), 0], abs=1e-5)
    assert np.argmax(items @ key.query_key(image=noise(2))) == 2
    assert open_key(str(directory)).name == key.name
    assert open_key(key) is key


def test_a_key_of_a_model_for_texts_takes_pictures_as_the_default_does():
    key = open_key(minilm_directory())
    assert isinstance(key.text, SentenceTransformerEmbedder) and isinstance(key.image, EfficientNetEmbedder)
    assert key.name == embedded("all-MiniLM-L6-v2").name == EARLIER_DEFAULT
    assert embedded("multilingual-e5-small").name == open_key(None).name != key.name


def test_a_memory_is_opened_with_the_name_of_a_model(tiny_siglip: Path, tmp_path: Path):
    folders = save_tiny(tmp_path / "model")
    with ContinuousMemory.from_pretrained(*folders, tmp_path / "memory", key=str(tiny_siglip)) as memory:
        memory.add([MemoryItem(id="a", text="dog", image=noise(1)), MemoryItem(id="b", text="cat", image=noise(2))])
        assert memory.search("dog", k=1)[0].id == "a"
        assert memory.search(image=noise(2), k=1)[0].id == "b"
        assert memory.key.name == memory.store.identity.key_name
    with pytest.raises(EncoderMismatchError, match="key"):
        ContinuousMemory.from_pretrained(*folders, tmp_path / "memory")


def test_what_makes_no_key_is_told_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(Backbone, "from_pretrained", lambda *_, **__: pytest.fail("weights were loaded"))
    base, adapter = save_tiny(tmp_path / "model")
    for name, found in (
        (base, "it is a llava model without modules.json"),
        (tmp_path / "nowhere", "nowhere"),
        ("no/such-model", "no/such-model"),
    ):
        with pytest.raises(ModelError, match=f"(?s){found}.* Pass the hub name or folder of a sentence-"):
            ContinuousMemory.from_pretrained(str(base), adapter, tmp_path / "memory", key=name)
    assert not (tmp_path / "memory").exists()


# EfficientNet


def test_other_weights_have_another_name(random_efficientnet: Path):
    torch.manual_seed(1)
    other = EfficientNetLite0(EfficientNetLite0Config()).state_dict()
    assert EfficientNetEmbedder(other).name != EfficientNetEmbedder(random_efficientnet).name
    plain = EfficientNetEmbedder(other, mean=torch.zeros(984))
    assert plain.name != EfficientNetEmbedder(other).name


def test_the_mean_is_that_of_the_features(random_efficientnet: Path):
    uncentred = EfficientNetEmbedder(random_efficientnet, mean=torch.zeros(984))
    mean = uncentred.fit_mean([noise(0), noise(1)])
    one, two = EfficientNetEmbedder(random_efficientnet, mean=mean).embed([noise(0), noise(1)])
    np.testing.assert_allclose(one @ two, -1, atol=1e-3)  # two points lie opposite each other around their mean


def test_transparent_margins_do_not_count():
    picture = Image.new("RGBA", (60, 40), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (20, 10, 50, 30))
    assert load_image(picture).size == (30, 20)
    assert load_image(picture).getpixel((5, 5)) == (0, 0, 255)
    assert load_image(Image.new("RGBA", (5, 4))).getpixel((1, 1)) == (255, 255, 255)
    assert load_image(noise(0).convert("L")).mode == "RGB"
    half = Image.new("RGBA", (2, 2), (0, 0, 0, 255))
    half.putpixel((0, 0), (0, 0, 0, 0))
    assert load_image(half).getpixel((0, 0)) == (255, 255, 255)


# Countries: the item holds the flat flag, the question brings the waving one


def fact(country: dict[str, Any]) -> str:
    place = country["subregion"] or country["region"]
    sentences = [f"{country['name']} (official name {country['official_name']}) is a country in {place}."]
    if country["capital"]:
        sentences.append(f"Its capital is {country['capital']}.")
    if country["languages"]:
        sentences.append(f"Languages: {', '.join(country['languages'])}.")
    sentences.append(f"Its area is {country['area_km2']} square kilometres.")
    return " ".join(sentences)


class Remembered:
    """Embeds each object once."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder, self.name, self.dimension = embedder, embedder.name, embedder.dimension
        self.known: dict[int, np.ndarray] = {}

    def embed(self, inputs: Sequence[Any]) -> np.ndarray:
        return self.recalled(inputs, self.embedder.embed)

    def recalled(self, inputs: Sequence[Any], embed: Callable[[Sequence[Any]], np.ndarray]) -> np.ndarray:
        new = {id(each): each for each in inputs if id(each) not in self.known}
        if new:
            self.known.update(zip(new, embed(list(new.values())), strict=True))
        return np.stack([self.known[id(each)] for each in inputs])


class RememberedTexts(Remembered):
    """The same of items and of questions, none of which is both."""

    embedder: SentenceTransformerEmbedder

    def embed_queries(self, inputs: Sequence[str]) -> np.ndarray:
        return self.recalled(inputs, self.embedder.embed_queries)


Flags = tuple[list[dict[str, Any]], list[Image.Image], list[Image.Image], Remembered]


@pytest.fixture(scope="module")
def flags() -> Flags:
    """The countries, their flat and their waving flags, and an embedder that has seen these."""
    countries = [json.loads(line) for line in (COUNTRIES / "countries.jsonl").open()]
    flat = [Image.open(COUNTRIES / country["flag"]) for country in countries]
    waving = [Image.open(COUNTRIES / country["flag_waving"]) for country in countries]
    pictures = Remembered(EfficientNetEmbedder(efficientnet_weights()))
    pictures.embed(flat + waving)
    return countries, flat, waving, pictures


@pytest.mark.slow
@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "multilingual-e5-small"])
def test_countries_are_found_by_picture_by_text_and_best_by_both(name: str, flags: Flags):
    countries, flat, waving, pictures = flags
    said = RememberedTexts(embedded(name).text)  # type: ignore[arg-type]
    key = RetrievalKey(said, pictures)
    assert key.dimension == 384 + 984
    facts = [fact(country) for country in countries]
    items = key.item_keys(facts, flat)

    def best(query: np.ndarray) -> list[float]:
        return np.sort(items @ query)[::-1][:PROBE].tolist()

    def recalls(queries: list[np.ndarray]) -> np.ndarray:
        """At 1, 5 and 10: how often the right country is among the first."""
        scores = np.stack(queries) @ items.T
        ranks = (scores >= np.diag(scores)[:, None] - 1e-6).sum(axis=1)
        return np.array([(ranks <= k).mean() for k in (1, 5, 10)])

    by_image = recalls([key.query_key(image=image) for image in waving])
    print(name, "image only", by_image)
    assert by_image[1] >= 0.93
    questions: dict[str, list[str]] = {
        "named": [f"What is the capital of {country['name']}?" for country in countries],
        "region": [f"What is the capital of this country in {country['region']}?" for country in countries],
        "vague": ["What is the capital of the country with this flag?"] * len(countries),
    }
    for kind, texts in questions.items():
        said.embed_queries(texts)
        by_text = recalls([key.query_key(text) for text in texts])
        both = list(zip(texts, waving, strict=True))
        jointly = recalls([key.query_key(text, image, best=best) for text, image in both])
        fixed = recalls([key.query_key(text, image) for text, image in both])
        print(kind, "text", by_text, "joint", jointly, "joint with a fixed share", fixed)
        assert (jointly >= np.maximum(by_text, by_image)).all(), kind
