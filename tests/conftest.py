"""Tiny models of every family, made once; and no network but the machine's own."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is: a worker a core

import pytest
from helpers.memories import embedded
from helpers.processes import chroma_server
from helpers.saved import save_tiny

from comem_memory import ContinuousMemory
from comem_memory.encoder import MemoryEncoder
from comem_memory.model import Backbone
from comem_memory.testing import FAMILIES, tiny_backbone, tiny_encoder

pytest.register_assert_rewrite("helpers.store_contract")


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    def closed(connect: Any) -> Any:
        def local_only(self: socket.socket, address: Any) -> Any:
            host = address[0] if isinstance(address, tuple) else "localhost"  # a Unix socket is local
            if host not in ("localhost", "::1") and not host.startswith("127."):
                raise OSError(f"A test tried to reach {host}. Tests run offline: use comem_memory.testing instead.")
            return connect(self, address)

        return local_only

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", closed(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", closed(socket.socket.connect_ex))
        yield


@pytest.fixture(scope="session", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="session")
def backbone(family: Any) -> Backbone:
    """The bare model of each family; tests leave it as it is."""
    return tiny_backbone(family)


@pytest.fixture(scope="session")
def encoder(family: Any) -> MemoryEncoder:
    """A memory encoder of each family, on a backbone of its own; tests leave it as it is."""
    return tiny_encoder(tiny_backbone(family))


@pytest.fixture
def memory(encoder: MemoryEncoder, tmp_path: Path) -> Iterator[ContinuousMemory]:
    """An empty memory of the file's own encoder, or of each family's."""
    with embedded(encoder, tmp_path / "memory") as memory:
        yield memory


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a tiny model and its adapter."""
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Chroma server on this machine; tests use collections of their own."""
    with chroma_server(tmp_path_factory.mktemp("server")) as url:
        yield url
