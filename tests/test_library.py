"""Chroma is what a memory says, whatever the host's files, environment variables and own clients say."""

import json
import os
from pathlib import Path

import chromadb
import pytest
from chromadb.config import Settings
from helpers.processes import run
from helpers.records import identity, record
from helpers.store_contract import ids_of

from comem_memory.store import ChromaServer, ChromaStore

ROUND_TRIP = """
    import json, os
    from contextlib import closing
    from helpers.records import identity, record
    from comem_memory.store import ChromaStore

    stores = {
        "embedded": lambda: ChromaStore.embedded("memory", identity=identity()),
        "in_memory": lambda: ChromaStore.in_memory(identity=identity()),
        "server": lambda: ChromaStore.server(sys.argv[1], identity=identity(), collection_name=sys.argv[2]),
    }
    for name, opened in stores.items():
        with closing(opened()) as store:
            store.put([record(name)])
    with closing(stores["embedded"]()) as store:
        print(store.ids(namespace="ann"))
    import chromadb
    try:
        print(json.dumps([collection.name for collection in chromadb.Client().list_collections()]))
    except Exception as error:
        print(type(error).__name__)
"""


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the processes that a test starts."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names_on(url: str) -> list[str]:
    host, port = url.removeprefix("http://").split(":")
    return sorted(c.name for c in chromadb.HttpClient(host, int(port)).list_collections())


def test_settings_of_the_working_directory_lead_nowhere_else(surroundings: Path, server_url: str):
    """They still hold for what the host opens with `chromadb` itself."""
    host, port = server_url.removeprefix("http://").split(":")
    settings = {
        "CHROMA_API_IMPL": "chromadb.api.fastapi.FastAPI",
        "CHROMA_SERVER_HOST": host,
        "CHROMA_SERVER_HTTP_PORT": port,
        "IS_PERSISTENT": "false",
        "PERSIST_DIRECTORY": "theirs",
        "MIGRATIONS": "none",
        "ALLOW_RESET": "true",
    }
    (surroundings / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    name = f"surroundings-{os.getpid()}"
    before = names_on(server_url)
    found, theirs = run(ROUND_TRIP, server_url, name).splitlines()
    assert found == "['embedded']"
    assert sorted(json.loads(theirs)) == names_on(server_url) == sorted([*before, name])
    assert not (surroundings / "theirs").exists()


def test_what_the_environment_says_of_a_server_is_not_asked(
    surroundings: Path, server_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CHROMA_SERVER_HOST", "192.0.2.1")
    monkeypatch.setenv("CHROMA_SERVER_HTTP_PORT", "9")
    monkeypatch.setenv("CHROMA_SERVER_HEADERS", '{"x": "y"}')
    monkeypatch.setenv("CHROMA_CLIENT_AUTH_PROVIDER", "chromadb.auth.token_authn.TokenAuthClientProvider")
    store = ChromaStore.server(server_url, identity=identity(), collection_name=f"environment-{os.getpid()}")
    store.put([record("a")])
    assert ids_of(store) == ["a"]
    store.close()


@pytest.mark.parametrize("broken", ["an encoding", "a value"])
def test_settings_that_chroma_cannot_read_are_no_matter(
    surroundings: Path, server_url: str, monkeypatch: pytest.MonkeyPatch, broken: str
):
    if broken == "an encoding":
        (surroundings / ".env").write_bytes("GREETING=Grüße\n".encode("latin-1"))
    else:
        monkeypatch.setenv("MIGRATIONS", "true")
    found, theirs = run(ROUND_TRIP, server_url, f"broken-{broken[3:]}-{os.getpid()}").splitlines()
    assert found == "['embedded']"
    assert theirs == "[]", "chromadb.Client() as if there were no settings"


def test_the_hosts_own_clients_work_before_and_after(tmp_path: Path):
    before = chromadb.EphemeralClient()
    before.get_or_create_collection("theirs", embedding_function=None)
    on_disk = chromadb.PersistentClient(tmp_path / "theirs", settings=Settings(allow_reset=True))
    ours = ChromaStore.in_memory(identity=identity()), ChromaStore.embedded(tmp_path / "ours", identity=identity())
    for store in ours:
        store.put([record("a")])
    after = chromadb.EphemeralClient()
    assert [c.name for c in after.list_collections()] == [c.name for c in before.list_collections()] == ["theirs"]
    for store in ours:
        store.close()
    assert [c.name for c in before.list_collections()] == ["theirs"]
    on_disk.create_collection("more", embedding_function=None)
    on_disk.reset()
    before.delete_collection("theirs")


def test_headers_stay_as_they_were_given(server_url: str):
    headers = {"x-team": "a"}
    name = f"headers-{os.getpid()}"
    server = ChromaServer(url=server_url, headers=headers)
    ChromaStore.server(server, identity=identity(), collection_name=name).close()
    assert headers == {"x-team": "a"}
