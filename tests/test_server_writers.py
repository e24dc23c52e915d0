"""Two processes that write one id on a server at the same time: what is read is always one of them whole."""

import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from helpers.records import identity, key, record

from comem_memory.store import ChromaStore, MemoryRecord
from comem_memory.store.ids import chroma_id

TIMES = 25

WRITER = """
    import sys
    sys.path[:0] = {paths!r}
    from helpers.records import identity
    from test_server_writers import TIMES, of_writer
    from comem_memory.store import ChromaStore, Quotas
    from comem_memory.store.servers import ChromaServer
    url, who, name, small = sys.argv[1:]
    server = ChromaServer(url=url, quotas=Quotas(value_bytes=60) if small == "True" else None)
    store = ChromaStore.server(server, identity=identity(), collection_name=name)
    sys.stdin.readline()
    for turn in range(TIMES):
        store.put([of_writer(who, turn)])
    print(turn)
"""


def of_writer(who: str, turn: int) -> MemoryRecord:
    """A record that says in each of its parts who wrote it and when; they differ in length and in what they have."""
    tag = f"{who}{turn}"
    optional: dict[str, Any] = {"said_at": "2026-01-01T00:00:00.000000+00:00", "image": f"{tag}.png"}
    return record(
        "x",
        seed=(1 if who == "a" else 2) * 1_000_000 + turn,
        block=f"{tag} " * (5 if who == "a" else 200),
        text=f"{tag} said",
        content_hash=tag,
        metadata={who: turn, f"{who}{turn % 3}": tag, "nested": {who: [1, tag]}},
        **(optional if who == "a" else {}),
    )


def assert_whole(found: MemoryRecord) -> None:
    who, turn = found.content_hash[0], int(found.content_hash[1:])
    expected = of_writer(who, turn)
    assert found == expected
    np.testing.assert_array_equal(found.key, expected.key)


def written_by_two(url: str, name: str, *, small_values: bool) -> None:
    with closing(ChromaStore.server(url, identity=identity(), collection_name=name)) as store:
        paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
        script = textwrap.dedent(WRITER).format(paths=paths)
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", script, url, who, name, str(small_values)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for who in "ab"
        ]
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        seen: set[str] = set()
        while any(writer.poll() is None for writer in writers):
            for found in store.get(["x"], namespace="ann"):
                assert_whole(found)
                seen.add(found.content_hash)
            for found, _ in store.search(key(1), namespace="ann", k=1):
                assert_whole(found)
        assert [writer.communicate()[0].strip() for writer in writers] == [str(TIMES - 1)] * 2
        [last] = store.get(["x"], namespace="ann")
        assert_whole(last)
        assert len(seen) > 5 and {one[0] for one in seen} == {"a", "b"}, "reading went on while both wrote"

        with store._opened.access() as collection:
            [metadata] = collection.get(ids=[chroma_id("ann", "x")], include=["metadatas"])["metadatas"] or []
        other = "b" if last.content_hash[0] == "a" else "a"
        assert not [name for name in metadata if name.startswith(other) or name == f"nested.{other}"]
        assert store.ids(namespace="ann", where={other: {"$gte": 0}}) == [], "filters see nothing of the other"
        assert store.ids(namespace="ann", where={last.content_hash[0]: {"$gte": 0}}) == ["x"]


def test_what_is_read_is_always_one_of_them_whole(server_url: str):
    written_by_two(server_url, "two-writers", small_values=False)


def test_so_it_is_where_long_texts_are_in_parts(server_url: str):
    written_by_two(server_url, "two-writers-of-parts", small_values=True)


def test_what_another_left_is_not_read_and_goes_with_the_next_write(server_url: str):
    with closing(ChromaStore.server(server_url, identity=identity(), collection_name="left-over")) as store:
        store.put([record("x", metadata={"mine": 1})])
        with store._opened.access() as collection:
            collection.update(ids=[chroma_id("ann", "x")], metadatas=[{"theirs": 2, "comem.block.7": "part"}])
        assert store.get(["x"], namespace="ann") == [record("x", metadata={"mine": 1})]
        store.put([record("x", metadata={"mine": 3})])
        assert store.count(namespace="ann", where={"theirs": 2}) == 0
        assert store.get(["x"], namespace="ann") == [record("x", metadata={"mine": 3})]
