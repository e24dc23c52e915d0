"""Connections end with their process, their last user or a call of close, whichever comes first."""

import gc
import os
from pathlib import Path

import pytest
from helpers.memories import DOOR, embedded
from helpers.processes import is_locked, run
from helpers.records import identity, record
from helpers.store_contract import ids_of

from comem_memory.store import ChromaStore, connections
from comem_memory.testing import tiny_backbone, tiny_encoder

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")

FORKED = """
    import os, signal, threading
    from helpers.processes import is_locked
    from comem_memory.errors import ComemError

    def in_child(work, *, leave=os._exit):
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)  # a child that hangs is ended
            try:
                print(work(), flush=True)
            except ComemError as error:
                print(f"{type(error).__name__}: {error}", flush=True)
            leave(0)
        status = os.waitpid(pid, 0)[1]
        if status:
            print("hung" if status == signal.SIGALRM else f"failed with {status}", flush=True)
"""


@needs_fork
def test_a_memory_says_at_once_in_a_forked_child_that_it_is_its_parents(tmp_path: Path):
    output = run(
        FORKED
        + """
    from pathlib import Path
    from helpers.memories import CAT, DOOR
    from helpers.saved import save_tiny
    from comem_memory import ContinuousMemory
    from comem_memory.testing import tiny_key
    base, adapter = save_tiny(Path(sys.argv[1]))
    memory = ContinuousMemory.from_pretrained(str(base), adapter, key=tiny_key())
    memory.add([DOOR, CAT])
    image = memory.get("cat")[0].image
    for lock in (memory._writer._lock, memory.store._opened._writing, memory.backbone.lock):
        holder = threading.Thread(target=lock.acquire)  # as another thread of the parent that is writing or answering
        holder.start()
        holder.join()
    uses = [
        lambda: memory.count(), lambda: memory.get("door"), lambda: memory.search("door"), lambda: list(memory.scan()),
        lambda: memory.answer("Which key?"), lambda: memory.answer("Which key?", mode="none"),
        lambda: list(memory.stream("Which key?")), lambda: memory.describe("door"), lambda: memory.prepare("Why?"),
        lambda: memory.add(CAT), lambda: memory.update("door", text="New."), lambda: memory.delete(ids="door"),
        lambda: memory.delete(where={"year": 2020}), lambda: memory.clear(), lambda: memory.reencode(),
        lambda: memory.export(sys.argv[1] + "-export"), lambda: memory.load(sys.argv[1]),
        lambda: memory.namespace("bob").count(), lambda: memory.store.namespaces(),
    ]
    for use in uses:
        in_child(use)
    in_child(memory.close)
    in_child(lambda: "left", leave=sys.exit)
    print(len(uses), Path(image).exists())
    print(image)
    """,
        tmp_path,
    ).splitlines()
    errors, (closed, left, counted, image) = output[:-4], output[-4:]
    assert (closed, left, counted) == ("None", "left", "19 True"), "the child left the parent's pictures where they are"
    assert not Path(image).exists(), "they went with their process"
    assert len(errors) == 19
    for line in errors:
        assert line.startswith("ForkedProcessError: This memory was opened by process ")
        assert "'spawn'" in line and "chroma run" in line


@needs_fork
def test_children_of_a_fork_take_nothing_from_their_parent(tmp_path: Path, server_url: str):
    output = run(
        FORKED
        + """
    from helpers.records import identity, key, record
    from comem_memory.store import ChromaStore, connections
    def opened(name): return ChromaStore.embedded(f"{sys.argv[1]}/{name}", identity=identity())

    def own():
        mine = opened("child")
        mine.put([record("b")])
        return mine.ids(namespace="ann"), [r.id for r, _ in mine.search(key(1), namespace="ann", k=1)]

    def drop():
        global store, other
        store = other = None
        return "dropped"

    in_child(own)
    store, other = opened("memory"), ChromaStore.in_memory(identity=identity())
    store.put([record("a")])
    print(store.ids(namespace="ann"), flush=True)

    def on_server(): return ChromaStore.server(sys.argv[2], identity=identity(), collection_name="forked")
    shared = on_server()
    shared.put([record("s")])
    in_child(lambda: shared.ids(namespace="ann"))
    in_child(lambda: on_server().ids(namespace="ann"))
    print(shared.ids(namespace="ann"), flush=True)

    connections._turn.acquire()  # a thread is opening something just now
    in_child(lambda: opened("memory"))
    in_child(lambda: opened("another"))
    in_child(lambda: ChromaStore.in_memory(identity=identity()))
    in_child(drop, leave=sys.exit)
    in_child(lambda: "left", leave=sys.exit)
    in_child(lambda: "left at once")
    connections._turn.release()
    print(is_locked(sys.argv[1] + "/memory"))
    store.put([record("c")])
    print(store.ids(namespace="ann"))
    """,
        tmp_path,
        server_url,
    ).splitlines()
    assert output[:2] == ["(['b'], ['b'])", "['a']"]
    assert output[2].startswith("ForkedProcessError: This memory was opened by process ")
    assert output[3:5] == ["['s']", "['s']"]
    for line in output[5:8]:
        assert line.startswith("ForkedProcessError: Chroma was started by process ") and "'spawn'" in line
    assert output[8:] == ["dropped", "left", "left at once", "True", "['a', 'c']"]


def test_what_is_garbage_is_closed(tmp_path: Path):
    store = ChromaStore.embedded(tmp_path, identity=identity())
    second = ChromaStore.embedded(tmp_path, identity=identity())
    store.put([record("a")])
    del store
    gc.collect()
    assert is_locked(tmp_path)
    assert ids_of(second) == ["a"]
    del second
    gc.collect()
    assert not is_locked(tmp_path)


def test_garbage_found_while_something_is_opened_does_not_hold_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from comem_memory.store import directories

    garbage = [ChromaStore.embedded(tmp_path / "one", identity=identity())]
    real = directories.embedded_client

    def opening(path: str | None):
        garbage.clear()
        gc.collect()
        return real(path)

    monkeypatch.setattr(directories, "embedded_client", opening)
    two = ChromaStore.embedded(tmp_path / "two", identity=identity())
    assert not is_locked(tmp_path / "one"), "and is let go of once that is open"
    two.close()


def test_garbage_that_cannot_be_closed_is_nobody_elses_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def broken() -> None:
        raise RuntimeError("The disk is gone.")

    store = ChromaStore.embedded(tmp_path, identity=identity())
    client = store._opened._client
    with connections.one_at_a_time():
        for release in (broken, lambda: released.append(True)):
            connections.Connection(client, release)  # garbage at once
        released: list[bool] = []
        gc.collect()
    assert released == [True] and "could not be closed" in caplog.text and "The disk is gone." in caplog.text
    store.close()


@needs_fork
def test_an_opening_that_is_refused_starts_no_chroma(tmp_path: Path):
    output = run(
        FORKED
        + """
    from helpers.records import identity
    from comem_memory.store import ChromaStore
    try:
        ChromaStore.embedded(__import__("helpers.records").__file__, identity=identity())
    except ComemError as error:
        print(type(error).__name__, flush=True)
    in_child(lambda: ChromaStore.embedded(sys.argv[1], identity=identity()).ids(namespace="ann"))
    """,
        tmp_path,
    )
    assert output.splitlines() == ["StoreLocationError", "[]"]


def test_a_view_keeps_its_memory_open(tmp_path: Path):
    memory = embedded(tiny_encoder(tiny_backbone("llava")), tmp_path)
    view = memory.namespace("bob")
    view.add(DOOR)
    del memory
    gc.collect()
    assert [hit.id for hit in view.search("door")] == ["door"]
    assert is_locked(tmp_path)
