"""Items as they are kept, for commands that need no model: at a server of ours, in a directory, at a Chroma server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comem_memory.cli.app import NAMESPACE, server_of
from comem_memory.errors import NotServedError
from comem_memory.types import Page

if TYPE_CHECKING:
    import typer

    from comem_memory.client.connection import Connection
    from comem_memory.server.wire import Hit, Hits, Newest, Stats
    from comem_memory.store import ChromaStore, Filter, MemoryRecord
    from comem_memory.types import MemoryHit


class Kept(ABC):
    """What is kept of a namespace; where the namespaces are asked for, of all that the caller may see."""

    namespace: str

    @abstractmethod
    def stats(self) -> tuple[dict[str, int], str | None, str | None]:
        """How many items each namespace holds, and which encoder and retrieval key made them."""

    @abstractmethod
    def ids(self) -> list[str]: ...

    @abstractmethod
    def count(self, where: Filter | None = None) -> int: ...

    @abstractmethod
    def newest(self, *, limit: int, offset: int, where: Filter | None) -> Page[dict[str, Any]]:
        """As `ItemMemory.newest`, each item as `shown`."""

    @abstractmethod
    def history(self, id: str) -> list[dict[str, Any]]:
        """As `ItemMemory.history`, each item as `shown`."""

    @abstractmethod
    def delete(self, ids: Sequence[str] | None, where: Filter | None) -> int: ...

    @abstractmethod
    def clear(self) -> int: ...

    @abstractmethod
    def export(self, folder: Path, where: Filter | None) -> int: ...


@contextmanager
def reach_kept(context: typer.Context) -> Iterator[Kept]:
    """What is kept at the server that is named, or has the directory open; else in the directory or Chroma server.

    Raises:
        StoreLocationError: There is no memory.
    """
    from comem_memory.store.filters import check_namespace  # not for --help: it loads NumPy

    namespace = check_namespace(context.obj["namespace"])
    server = server_of(context)
    if server is not None:
        from comem_memory.client.connection import Connection

        with closing(Connection(*server)) as connection:
            yield _Served(connection, None if context.meta[NAMESPACE] is None else namespace)
        return
    from comem_memory.cli.places import open_kept

    directory = context.obj["persist_directory"]
    with closing(open_kept(directory, context.obj["chroma_url"])) as store:
        yield _Stored(store, directory, namespace)


class _Stored(Kept):
    """In a store that this process has open."""

    def __init__(self, store: ChromaStore, directory: Path, namespace: str) -> None:
        from comem_memory.store import PictureFolder

        self._store, self.namespace = store, namespace
        self._pictures = PictureFolder(store.picture_directory(directory))

    def stats(self) -> tuple[dict[str, int], str | None, str | None]:
        counts = {name: self._store.count(namespace=name) for name in self._store.namespaces()}
        return counts, str(self._store.identity.encoder), self._store.identity.key_name

    def ids(self) -> list[str]:
        return self._store.ids(namespace=self.namespace)

    def count(self, where: Filter | None = None) -> int:
        return self._store.count(namespace=self.namespace, where=where)

    def newest(self, *, limit: int, offset: int, where: Filter | None) -> Page[dict[str, Any]]:
        found = self._store.newest(namespace=self.namespace, limit=limit, offset=offset, where=where)
        return Page(self._shown(found), found.total)

    def history(self, id: str) -> list[dict[str, Any]]:
        return self._shown(self._store.history(id, namespace=self.namespace))

    def delete(self, ids: Sequence[str] | None, where: Filter | None) -> int:
        from comem_memory.store.deleting import delete_items

        return delete_items(self._store, self._pictures, namespace=self.namespace, ids=ids, where=where)

    def clear(self) -> int:
        return self.delete(None, None)

    def export(self, folder: Path, where: Filter | None) -> int:
        from comem_memory.progress import tracked
        from comem_memory.store import to_export, write_folder

        total = len(self._store.ids(namespace=self.namespace, where=where, history=True))
        records = to_export(self._store, self._pictures, namespace=self.namespace, where=where)
        with closing(tracked(records, "exporting", total=total)) as shown:
            return write_folder(folder, self._store.identity, shown)

    def _shown(self, records: Sequence[MemoryRecord]) -> list[dict[str, Any]]:
        from comem_memory.content import locations_of

        return [
            shown(record, self._pictures.find(record.image), locations_of(self._pictures.content(record)))
            for record in records
        ]


class _Served(Kept):
    """At a server, which says whose items are meant where no namespace is named."""

    def __init__(self, connection: Connection, namespace: str | None) -> None:
        from comem_memory.server import wire

        self._connection, self._wire = connection, wire
        named = {} if namespace is None else {"namespace": namespace}
        self.namespace = connection.get("/v1/memory", wire.MemoryInfo, named).namespace

    def stats(self) -> tuple[dict[str, int], str | None, str | None]:
        told: Stats = self._connection.get("/v1/stats", self._wire.Stats)
        return told.items, told.encoder, told.retrieval_key

    def ids(self) -> list[str]:
        return self._post("ids", self._wire.IdsRequest(), self._wire.Ids).ids

    def count(self, where: Filter | None = None) -> int:
        return self._post("count", self._wire.FilterRequest(where=where), self._wire.Count).count

    def newest(self, *, limit: int, offset: int, where: Filter | None) -> Page[dict[str, Any]]:
        ask = self._wire.NewestRequest(limit=limit, offset=offset, where=where)
        found: Newest = self._post("newest", ask, self._wire.Newest)
        return Page(self._shown(found), found.total)

    def history(self, id: str) -> list[dict[str, Any]]:
        return self._shown(self._post("history", self._wire.HistoryRequest(id=id), self._wire.Hits))

    def delete(self, ids: Sequence[str] | None, where: Filter | None) -> int:
        ask = self._wire.DeleteRequest(ids=None if ids is None else list(ids), where=where)
        return self._post("delete", ask, self._wire.Deleted, again=False).deleted

    def clear(self) -> int:
        return self._post("clear", None, self._wire.Deleted, again=False).deleted

    def export(self, folder: Path, where: Filter | None) -> int:
        raise NotServedError(
            f"The server at {self._connection.url} does not give an export. Stop it, and export from its directory: "
            "comem --directory DIRECTORY export FOLDER."
        )

    def _shown(self, found: Hits) -> list[dict[str, Any]]:
        at = self._connection.location
        return [shown(hit, hit.image and at(hit.image), hit.content_locations(at)) for hit in found.hits]

    def _post(self, route: str, ask: Any, answer: type[Any], **how: Any) -> Any:
        return self._connection.post(f"/v1/items/{route}", ask, answer, {"namespace": self.namespace}, **how)


def shown(
    item: MemoryHit | MemoryRecord | Hit, image: str | None, content: list[dict[str, str]] | None
) -> dict[str, Any]:
    """An item as --json prints it.

    Args:
        item: The item.
        image: Where its picture is found.
        content: As `MemoryHit.content_locations`.
    """
    from comem_memory.types import own_metadata

    return {
        "id": item.id,
        "similarity": getattr(item, "similarity", None),
        "similarity_of_texts": getattr(item, "similarity_of_texts", None),
        "text": item.text,
        "image": image,
        "content": content,
        "left_out": list(item.left_out),
        "metadata": own_metadata(item.metadata),
        "created_at": item.created_at,
        "truncated": item.truncated,
        "updated_at": item.updated_at,
        "said_at": item.said_at,
        "expires": item.expires,
        "supersedes": list(item.supersedes),
        "superseded_by": item.superseded_by,
    }
