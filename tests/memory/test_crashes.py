"""A directory keeps everything, may move, is refused to a second process, and survives being killed."""

import json
from pathlib import Path

import pytest
import torch
from helpers.memories import CAT, DOOR, FLAG, embedded, same_picture
from helpers.processes import run

from comem_memory import MemoryEncoder
from comem_memory.errors import StoreLocationError


def test_a_directory_keeps_everything_and_may_move(llava: MemoryEncoder, tmp_path: Path, encoded: list[int]):
    with embedded(llava, tmp_path / "one") as memory:
        memory.add([DOOR, CAT, FLAG])
        before = memory.get(["door", "cat", "flag"])
    (tmp_path / "one").rename(tmp_path / "two")
    with embedded(llava, tmp_path / "two") as memory:
        after = memory.get(["door", "cat", "flag"])
        for old, new in zip(before, after, strict=True):
            assert torch.equal(old.memory_embeddings, new.memory_embeddings)
        assert same_picture(after[1].image, CAT.image)
        memory.answer("cat", mode="text", max_new_tokens=1)
        memory.add([DOOR, CAT, FLAG])
        assert encoded == [3]
        assert memory.search("the blue door", k=1)[0].id == "door"


def test_a_directory_that_is_not_ours(llava: MemoryEncoder, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreLocationError, match="Pass an empty or new directory"):
        embedded(llava, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_second_process_is_told_the_way_out(llava: MemoryEncoder, tmp_path: Path):
    with embedded(llava, tmp_path / "memory") as memory:
        memory.add(DOOR)
        said = run(
            """
            from pathlib import Path
            from helpers.memories import embedded
            from comem_memory.testing import tiny_backbone, tiny_encoder
            from comem_memory.errors import StoreInUseError
            try:
                embedded(tiny_encoder(tiny_backbone("llava")), Path(sys.argv[1]))
            except StoreInUseError as error:
                print(error)
            """,
            tmp_path / "memory",
            forked=True,
        )
        assert "Another process" in said
        assert f"chroma run --path {tmp_path / 'memory' / 'chroma'}" in said
        assert memory.get("door")[0].text == DOOR.text


NURSERY = """
    # Forks workers that are killed; each first inspects what those before it left. Chroma is opened in forks only.
    import json, os, random
    from pathlib import Path
    import torch
    import comem_memory.encoder.prepared as prepared_module
    from comem_memory.testing import tiny_backbone, tiny_encoder
    from helpers.memories import add_for_ever, embedded, fresh, inspect, versioned
    prepared_module.CHUNK = 4
    torch.set_num_threads(1)  # a fork has no other
    encoder, directory, rng = tiny_encoder(tiny_backbone("llava")), Path(sys.argv[1]), random.Random(0)
    fresh(encoder, versioned(1, 1))

    def fork(work):
        readable, writable = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.close(readable)
                work(lambda text: os.write(writable, text.encode()))
            finally:
                os._exit(1)
        os.close(writable)
        return pid, os.fdopen(readable)

    def worker(say, seed):
        memory = embedded(encoder, directory)
        say(json.dumps(inspect(memory, acknowledged)) + "\\n")
        if seed <= 20:
            add_for_ever(memory, seed, say)

    acknowledged, count, lost, torn = {}, 0, 0, 0
    for seed in range(1, 22):
        pid, lines = fork(lambda say: worker(say, seed))
        found = json.loads(lines.readline())
        lost, torn = lost + found[0], torn + found[1]
        if seed > 20:
            os.waitpid(pid, 0)
            break
        first = lines.readline()  # the first chunk is stored
        time.sleep(rng.uniform(0.0, 0.4))
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        for line in [first, *lines]:
            id, version = line.split()
            acknowledged[id] = int(version)
            count += 1
    print(json.dumps({"kills": 20, "acknowledged": count, "lost": lost, "torn": torn}))
"""


def test_twenty_kills_in_the_middle_of_add_lose_and_tear_nothing(tmp_path: Path):
    found = json.loads(run(NURSERY, tmp_path / "memory", forked=True))
    print(f"\nkill -9, {found}")
    assert found["kills"] == 20
    assert found["acknowledged"] >= 80
    assert (found["lost"], found["torn"]) == (0, 0)
