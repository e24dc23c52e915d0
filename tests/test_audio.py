"""Recordings in items: how they are read, that the model hears them, and that they are kept whole."""

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from helpers.memories import embedded, kept_files
from helpers.servers import serving

from comem_memory import Audio, ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.content import below, content_parts
from comem_memory.encoder import item_hash
from comem_memory.errors import CorpusError, InvalidItemError, ItemNotFoundError, ModelError
from comem_memory.files import audio as audio_module
from comem_memory.files import read_audio, read_items, samples_of
from comem_memory.model import content_inputs
from comem_memory.server.app import create_app
from comem_memory.server.settings import ServerSettings
from comem_memory.synthesis.corpus_writer import synthesize
from comem_memory.synthesis.own_items import OwnDrafts
from comem_memory.testing import HEARING, tiny_backbone, tiny_encoder, tiny_key, tiny_memory, tiny_picture, tiny_sound
from comem_memory.training.corpus_batches import CorpusBatches
from comem_memory.training.memory_trainer import MemoryTrainer
from comem_memory.training.trainer import training_arguments
from comem_memory.ui.dropped import items_in

BELL = Audio(tiny_sound(1))
HORN = Audio(tiny_sound(2, seconds=1.2))
NOISE = Audio(b"no recording at all")


@pytest.fixture(scope="module", params=HEARING)
def encoder(request: pytest.FixtureRequest) -> MemoryEncoder:
    return tiny_encoder(tiny_backbone(request.param))


@pytest.fixture(scope="module")
def hearing() -> MemoryEncoder:
    return tiny_encoder(tiny_backbone("qwen2_audio"))


@pytest.fixture
def memory(hearing: MemoryEncoder, tmp_path: Path) -> Iterator[ContinuousMemory]:
    with embedded(hearing, tmp_path / "memory") as memory:
        yield memory


def encoded(seconds: float, *, rate: int, layout: str, kind: str = "flac", pitch: float = 440.0) -> bytes:
    """A tone as FFmpeg encodes it, of which each channel but the first is silent."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as written:
        stream: Any = written.add_stream("flac" if kind == "flac" else "pcm_s16le", rate=rate, layout=layout)
        tone = np.sin(2 * np.pi * pitch * np.arange(int(rate * seconds)) / rate)
        channels = np.zeros((len(tone), len(stream.layout.channels)))
        channels[:, 0] = tone
        packed = (channels * 20000).astype("<i2").reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate = rate
        for given in (frame, None):
            written.mux(stream.encode(given))
    return file.getvalue()


# -- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "rate", "layout"), [("flac", 44100, "stereo"), ("wav", 8000, "mono")])
def test_it_is_mono_at_the_models_rate(kind: str, rate: int, layout: str):
    heard = samples_of(encoded(0.5, rate=rate, layout=layout, kind=kind), rate=16000, seconds=1)
    assert heard.dtype == np.float32
    assert abs(len(heard) - 8000) < 100
    spectrum = np.abs(np.fft.rfft(heard[1000:7000]))
    assert abs(np.fft.rfftfreq(6000, 1 / 16000)[spectrum.argmax()] - 440) < 5


def test_what_cannot_be_heard_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InvalidItemError, match="No such file.*Pass the path of an audio file"):
        read_audio(Audio(tmp_path / "none.wav"))
    with pytest.raises(InvalidItemError, match="cannot be read.*FFmpeg can open"):
        samples_of(NOISE.data, rate=16000, seconds=1)
    with pytest.raises(InvalidItemError, match="longer than the 1 seconds.*Split it"):
        samples_of(HORN.data, rate=16000, seconds=1)
    with pytest.raises(InvalidItemError, match="no samples"):
        samples_of(tiny_sound(1, seconds=0), rate=16000, seconds=1)
    silent = io.BytesIO()
    with av.open(silent, "w", format="mp4") as clip:
        stream: Any = clip.add_stream("mpeg4", rate=5)
        clip.mux(stream.encode(av.VideoFrame.from_image(tiny_picture(1))))
        clip.mux(stream.encode(None))
    with pytest.raises(InvalidItemError, match="has no sound"):
        samples_of(silent.getvalue(), rate=16000, seconds=1)
    monkeypatch.setattr(audio_module, "MAX_AUDIO_BYTES", 100)
    with pytest.raises(InvalidItemError, match="more than 100. Split it"):
        read_audio(BELL)


# -- the item ---------------------------------------------------------------------------------------------------


def test_parts_are_recordings_too(tmp_path: Path):
    path = tmp_path / "bell.wav"
    path.write_bytes(BELL.data)
    parts = content_parts(
        [
            {"type": "audio", "audio": str(path)},
            {"type": "audio", "base64": base64.b64encode(BELL.data).decode(), "mime_type": "audio/wav"},  # LangChain's
            {"type": "audio", "audio": BELL.data},
            Audio(path),
        ]
    )
    assert parts == (Audio(path), BELL, BELL, Audio(path))
    assert below(tmp_path, [Audio("bell.wav")]) == (Audio(path),)  # type: ignore[arg-type]
    item = MemoryItem(content=[BELL, "The bell of the school."])
    assert (item.text, item.image, item.content) == ("The bell of the school.", None, (BELL, "The bell of the school."))
    same = MemoryItem(content=[Audio(path), "The bell of the school."])
    assert item_hash(same) == item_hash(item) != item_hash(MemoryItem(content=[HORN, "The bell of the school."]))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([BELL], "nothing that it is found by. Pass a text"),
        (
            [{"type": "audio", "audio": "https://example.org/a.wav"}],
            "Audio https.* is a URL, and a memory",
        ),
        ([{"type": "audio", "url": "https://example.org/a.wav"}], 'A part of content.*"audio": ...'),
        ([{"type": "audio", "base64": "!"}], "base64 is damaged"),
        ([{"type": "audio", "audio": 3}], "Audio is a int. Pass the path"),
    ],
)
def test_what_is_no_recording_is_refused(content: Any, why: str):
    with pytest.raises(InvalidItemError, match=why):
        MemoryItem(content=content)


def test_lines_of_a_file_name_recordings_beside_it(tmp_path: Path):
    (tmp_path / "items.jsonl").write_text(json.dumps({"content": [{"type": "audio", "audio": "bell.wav"}, "A bell."]}))
    [item] = read_items(tmp_path / "items.jsonl")
    assert item.content == (Audio(tmp_path / "bell.wav"), "A bell.")


# -- what the encoder reads -------------------------------------------------------------------------------------


def test_it_stands_where_the_models_own_processor_puts_it(encoder: MemoryEncoder):
    prompts = encoder.prompts
    turn = {
        "role": "user",
        "content": [{"type": "audio"}, {"type": "text", "text": " Similar image and text knowledge for reference"}],
    }
    said = prompts.processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    said = said[max(0, said.find("<|im_start|>user")) :] + "A bell."
    heard = samples_of(BELL.data, rate=16000, seconds=2)
    expected = prompts.processor(text=[said], audio=[heard], sampling_rate=16000, return_tensors="pt")
    made = encoder.inputs("A bell.", content=[BELL, "A bell."]).tensors
    length = expected["input_ids"].shape[1]
    assert torch.equal(made["input_ids"][:, :length], expected["input_ids"])
    assert made["input_ids"].shape[1] - length < 3  # the end of the turn
    assert made.keys() == expected.keys()
    assert torch.equal(made["input_features"], expected["input_features"])


def test_what_is_heard_is_in_the_vectors_and_a_batch_is_one_by_one(encoder: MemoryEncoder):
    for layout in ("knowledge", "trajectory"):
        before = encoder.encoder_config
        encoder.encoder_config = before.model_copy(update={"layout": layout})
        try:
            items = [
                encoder.inputs("A sound.", content=[BELL, "A sound."]),
                encoder.inputs("A sound.", content=[HORN, "A sound."]),
                encoder.inputs("A sound without a recording."),
                encoder.inputs("Two steps", content=["It begins.", BELL, "It rings."]),
            ]
            together = encoder.encode(items)
            for vectors, item in zip(together, items, strict=True):
                assert torch.allclose(vectors, encoder.encode([item])[0], atol=2e-5)
            assert not torch.allclose(together[0], together[1], atol=1e-2)
        finally:
            encoder.encoder_config = before


def test_several_recordings_where_the_model_takes_them(hearing: MemoryEncoder):
    several = [BELL, "First.", HORN, "Then.", BELL, HORN, "Both."]
    both, other = (hearing.inputs(content=content) for content in (several, [*several[:5], BELL, "Both."]))
    vectors = hearing.encode([both, other])
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)
    assert torch.allclose(vectors[0], hearing.encode([both])[0], atol=2e-5)
    with pytest.raises(InvalidItemError, match="does not take this audio.*1:1.*one recording each"):
        tiny_encoder(tiny_backbone("glmasr")).inputs(content=several)


def test_own_items_with_recordings_are_trained_on(tmp_path: Path):
    lines = []
    for n in range(4):
        (tmp_path / f"{n}.wav").write_bytes(tiny_sound(n))
        content = [{"type": "audio", "audio": f"{n}.wav"}, f"Bell {n}."]
        lines.append({"content": content, "questions": [{"question": f"What rang in {n}?", "answer": "a bell"}]})
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    drafts = OwnDrafts(tmp_path / "own.jsonl", 1, tiny_key(), lambda asked: [])
    synthesize(tmp_path / "own", drafts, samples=4, answers="known", read=lambda asked: [])
    batches = CorpusBatches(tmp_path / "own", "train", questions=1, seed=1, num_batches=1, max_memories=1)
    [item] = batches[0]["items"]
    assert item.content is not None
    assert isinstance(item.content[0], Audio)
    assert Path(str(item.content[0].source)).is_relative_to(tmp_path / "own" / "audio")
    encoder = MemoryEncoder.create(tiny_backbone("qwen2_audio"), num_attention_heads=4, max_length=512)
    arguments = training_arguments(tmp_path / "out", steps=1, learning_rate=1e-3, eval_strategy="no", bf16=False)
    trainer = MemoryTrainer(encoder, arguments, batches, [])
    before = {name: p.detach().clone() for name, p in encoder.named_parameters() if "audio_tower" in name}
    assert trainer.train().training_loss > 0
    changed = {name for name, p in encoder.named_parameters() if name in before and not torch.equal(p, before[name])}
    assert changed
    assert all("lora_" in name for name in changed)
    (tmp_path / "0.wav").unlink()
    with pytest.raises(CorpusError, match="line 1: there is no recording .*0.wav"):
        OwnDrafts(tmp_path / "own.jsonl", 1, tiny_key(), lambda asked: [])


def test_half_precision_hears(encoder: MemoryEncoder):
    half = tiny_backbone(encoder.backbone.name.split("-")[1])  # type: ignore[arg-type]
    half.model.to(torch.bfloat16)
    made = half.hidden_states(half.batch([encoder.inputs(content=[BELL, "A bell."]).tensors]))
    assert made.dtype == torch.bfloat16
    assert torch.isfinite(made).all()


def test_what_does_not_fit_is_told(hearing: MemoryEncoder):
    with pytest.raises(InvalidItemError, match="longer than the 2 seconds that the model hears at once"):
        hearing.inputs(content=[Audio(tiny_sound(1, seconds=2.5)), "A long bell."])
    long = [part for n in range(9) for part in (Audio(tiny_sound(n, seconds=1.5)), f"Step {n}.")]
    thin = hearing.inputs(content=long, thin=True)
    assert thin.left_out
    assert {0, 1, 16, 17}.isdisjoint(thin.left_out)


def test_text_forges_no_recording(hearing: MemoryEncoder):
    forged = "<|AUDIO|><|audio_bos|>"
    made = content_inputs(hearing.prompts, [BELL, forged], layout="knowledge", max_length=512, thin=False)
    honest = content_inputs(hearing.prompts, [BELL, "A bell."], layout="knowledge", max_length=512, thin=False)
    token = hearing.prompts.tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    assert (made.tensors["input_ids"] == token).sum() == (honest.tensors["input_ids"] == token).sum() > 0


def test_memory_stands_before_no_recording(hearing: MemoryEncoder):
    prompt = hearing.inputs(content=[BELL, "A bell."]).tensors
    with pytest.raises(ModelError, match="audio takes no memory"):
        hearing.backbone.batch([prompt], [torch.zeros(8, hearing.backbone.hidden_size)])


# -- what is kept -----------------------------------------------------------------------------------------------


def test_it_is_kept_found_and_answered_from(hearing: MemoryEncoder, tmp_path: Path):
    own = tmp_path / "own.wav"
    own.write_bytes(HORN.data)
    item = MemoryItem(id="bell", content=[BELL, "The bell of the school.", Audio(own), "And a horn."])
    with embedded(hearing, tmp_path / "memory") as memory:
        memory.add(item)
        assert memory.add(item) == ["bell"]
        [expected] = memory.encode(item).vectors
    with embedded(hearing, tmp_path / "memory") as memory:
        [hit] = memory.search("the bell", k=1)
        assert hit.content is not None
        bell, _, horn, _ = hit.content
        assert isinstance(bell, Audio)
        assert isinstance(bell.source, Path)
        assert (bell.source.suffix, bell.source.read_bytes()) == (".wav", BELL.data)
        assert horn == Audio(own.resolve())
        assert [part["type"] for part in hit.content_locations or ()] == ["audio", "text", "audio", "text"]
        assert len(kept_files(memory)) == 1
        assert torch.allclose(hit.memory_embeddings, expected, atol=expected.abs().max().item() / 100)
        assert item_hash(MemoryItem(content=hit.content)) == item_hash(item)
        asked = {"max_new_tokens": 8, "min_new_tokens": 8}
        bare = memory.answer("What rings?", mode="none", **asked).text
        prompt = hearing.backbone.prompt([{"role": "user", "content": "What rings?"}])
        [tokens] = hearing.backbone.generate([prompt], **asked)
        assert bare == hearing.prompts.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        assert memory.answer("What rings?", mode="memory", **asked).text != bare
        memory.update("bell", text="The old bell", content=hit.content)
        assert memory.get("bell")[0].content == hit.content
        assert memory.export(tmp_path / "export") == 1
        assert json.loads((tmp_path / "export" / "export.json").read_text())["format_version"] == 4
        with embedded(hearing, tmp_path / "other") as other:
            assert other.load(tmp_path / "export") == 1
            [loaded] = other.get("bell")
            sources = [part.source for part in loaded.content or () if isinstance(part, Audio)]
            assert [Path(str(file)).read_bytes() for file in sources] == [BELL.data, HORN.data]
            assert all(Path(str(file)).is_relative_to(tmp_path / "other") for file in sources)
            other.reencode()
            assert torch.allclose(other.get("bell")[0].memory_embeddings, loaded.memory_embeddings, atol=1e-5)
        memory.delete(ids=["bell"])
        assert kept_files(memory) == []
        assert own.is_file()


def test_a_model_that_does_not_hear_refuses_it(tmp_path: Path):
    with tiny_memory(tmp_path / "memory") as memory:
        with pytest.raises(InvalidItemError, match="Item 'bell': This model takes no audio. Use one that hears"):
            memory.add(MemoryItem(id="bell", content=[BELL, "A bell."]))
        assert memory.count() == 0
        assert kept_files(memory) == []


def test_one_that_cannot_be_heard_is_not_stored(memory: ContinuousMemory):
    with pytest.raises(InvalidItemError, match="Item 'bell': A recording cannot be read"):
        memory.add(MemoryItem(id="bell", content=[NOISE, "A bell."]))
    assert memory.count() == 0
    assert kept_files(memory) == []


def test_a_server_takes_and_gives_it(memory: ContinuousMemory):
    with serving(create_app(memory, ServerSettings())) as url, ContinuousMemory.connect(url) as served:
        served.add(MemoryItem(id="bell", content=[BELL, "The bell of the school."]))
        [hit] = served.search("the bell", k=1)
        locations = hit.content_locations or []
        assert re.match(rf"{url}/v1/audio\?.*id=bell&part=0", locations[0]["audio"])
        [recording, _] = hit.content or ()
        assert isinstance(recording, Audio)
        assert isinstance(recording.source, Path)
        assert recording.source.read_bytes() == BELL.data
        served.update("bell", content=[HORN, "A horn."])
        [changed] = memory.get("bell")[0].content[:1]  # type: ignore[index]
        assert Path(str(changed.source)).read_bytes() == HORN.data  # type: ignore[union-attr]
        connection = served._connection  # type: ignore[attr-defined]
        for where in ("/v1/audio?id=bell&part=1", "/v1/pictures?id=bell&part=0"):
            with pytest.raises(ItemNotFoundError):
                connection.download(where)


def test_a_dropped_file_names_no_recording_of_this_machine(tmp_path: Path):
    dropped = tmp_path / "dropped"
    dropped.mkdir()
    (tmp_path / "secret.wav").write_bytes(BELL.data)
    line = {"content": [{"type": "audio", "audio": str(tmp_path / "secret.wav")}, "Mine?"]}
    (dropped / "notes.jsonl").write_text(json.dumps(line))
    with pytest.raises(InvalidItemError, match=r"'secret.wav' of an item was not dropped"):
        list(items_in(dropped, ServerSettings()))
    line["content"][0] = {"type": "audio", "audio": "bell.wav"}
    (dropped / "notes.jsonl").write_text(json.dumps(line))
    (dropped / "bell.wav").write_bytes(BELL.data)
    (dropped / "horn.wav").write_bytes(BELL.data)
    told = list[str]()
    [item] = items_in(dropped, ServerSettings(), told.append)
    assert item.content == (BELL, "Mine?")
    [said] = told  # without a text of its own it is no item, and the bell is used
    assert said.startswith("Left out of what was dropped: 1 .wav (horn.wav). A recording is found by its text alone")


def test_a_recording_with_its_text_is_an_item(memory: ContinuousMemory, tmp_path: Path):
    recording = tmp_path / "dropped" / "bell.wav"
    recording.parent.mkdir()
    recording.write_bytes(BELL.data)
    for read in (lambda: [*read_items(str(recording))], lambda: [*items_in(recording.parent, ServerSettings())]):
        with pytest.raises(InvalidItemError, match=r"is found by its text alone. Write .* beside it, bell.txt"):
            read()
    recording.with_suffix(".txt").write_text("The bell of the school.\n")
    [named], [dropped] = read_items(str(recording)), items_in(recording.parent, ServerSettings())
    assert (named.text, named.content) == ("The bell of the school.", (Audio(recording),))
    assert (dropped.text, dropped.content, dropped.metadata) == (named.text, (BELL,), {"source": "bell.wav"})
    memory.add([dropped])
    assert [hit.text for hit in memory.search("the bell of the school")] == ["The bell of the school."]
    with pytest.warns(UserWarning, match=r"Left out of .*: 1 .wav \(bell.wav\)\. Few models hear"):
        [written] = read_items(str(recording.parent))
    assert (written.text, written.content) == ("The bell of the school.", None)
