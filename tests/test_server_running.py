"""A server's life, in a process of its own: it says when it is ready, is found, and loses nothing when it ends."""

import json
import os
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from helpers.saved import save_tiny
from helpers.server_process import ServerProcess, server_process
from typer.testing import CliRunner

from comem_memory.cli.app import app
from comem_memory.errors import AddressError, TokenError
from comem_memory.server.announcement import FILE, find_server
from comem_memory.server.running import Address
from comem_memory.server.tokens import new_token
from comem_memory.testing import tiny_memory

LONG = {"question": "Why?", "mode": "none", "max_new_tokens": 900, "generation": {"min_new_tokens": 900}}


class Adding:
    """Clients that add items of their own until the server refuses them, and note what it acknowledged.

    Args:
        server: The server.
        clients: How many.
    """

    def __init__(self, server: ServerProcess, clients: int = 4) -> None:
        self.acknowledged: list[str] = []
        self.refusals: list[str] = []
        self._url = server.url
        self._threads = [threading.Thread(target=self._add, args=(client,)) for client in range(clients)]
        for thread in self._threads:
            thread.start()

    def _add(self, client: int) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as http:
            for number in range(10_000):
                items = [
                    {"id": f"{client}-{number}-{part}", "text": f"Note {client} {number} {part}."} for part in "ab"
                ]
                try:
                    answer = http.post("/v1/items", json={"items": items})
                except httpx.TransportError as error:
                    self.refusals.append(type(error).__name__)
                    return
                if answer.status_code != 200:
                    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
                    self.refusals.append(answer.json()["type"])
                    return
                self.acknowledged += answer.json()["ids"]

    def wait_for(self, items: int) -> None:
        until = time.monotonic() + 60
        while len(self.acknowledged) < items and time.monotonic() < until:
            time.sleep(0.01)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def test_what_is_acknowledged_when_it_is_told_to_stop_is_stored(tmp_path: Path):
    with server_process(tmp_path) as server:
        adding = Adding(server)
        adding.wait_for(20)
        server.signal(signal.SIGTERM)
        adding.join()
        assert server.ended() == (0, "closed")
    assert len(adding.refusals) == 4 and len(adding.acknowledged) >= 20
    assert not (tmp_path / FILE).exists()
    with tiny_memory(tmp_path) as memory:
        assert len(memory.get(adding.acknowledged)) == len(adding.acknowledged) == len(set(adding.acknowledged))


def test_what_is_acknowledged_is_stored_even_if_it_is_killed_and_the_next_one_takes_its_place(tmp_path: Path):
    with server_process(tmp_path) as server:
        adding = Adding(server)
        adding.wait_for(20)
        found = find_server(tmp_path)
        assert found is not None and found.url == server.url and found.pid == server.process.pid
        server.signal(signal.SIGKILL)
        adding.join()
        server.ended()
    assert (tmp_path / FILE).exists() and find_server(tmp_path) is None
    with server_process(tmp_path) as server:
        again = find_server(tmp_path)
        assert again is not None and again.url == server.url
        answer = httpx.post(f"{server.url}/v1/items/get", json={"ids": adding.acknowledged}, timeout=60)
        assert len(answer.json()["hits"]) == len(adding.acknowledged) >= 20


class Asking:
    """A client that waits for a long answer, which the model is making.

    Args:
        server: The server.
    """

    def __init__(self, server: ServerProcess) -> None:
        self.got: httpx.Response | httpx.TransportError | None = None
        self._url = server.url
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        while "comem_answers_running 1.0" not in httpx.get(f"{server.url}/metrics", timeout=60).text:
            time.sleep(0.01)

    def _ask(self) -> None:
        try:
            self.got = httpx.post(f"{self._url}/v1/answer", json=LONG, timeout=60)
        except httpx.TransportError as error:
            self.got = error

    def join(self) -> None:
        self._thread.join()


def test_what_runs_is_finished_and_what_comes_is_refused(tmp_path: Path):
    with server_process(tmp_path) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        asking = Asking(server)
        server.signal(signal.SIGTERM)
        until = time.monotonic() + 10
        while client.get("/ready").status_code == 200 and time.monotonic() < until:
            time.sleep(0.01)
        refused = client.post("/v1/items", json={"items": [{"text": "A."}]})
        assert (refused.status_code, refused.json()["type"]) == (503, "BusyError")
        assert int(refused.headers["Retry-After"]) > 0
        assert (client.get("/ready").status_code, client.get("/health").status_code) == (503, 200)
        assert asking.got is None, "the answer is still being made"
        asking.join()
        assert isinstance(asking.got, httpx.Response) and asking.got.json()["completion_tokens"] == 900
        assert server.ended() == (0, "closed")


def test_after_the_grace_it_ends_all_the_same(tmp_path: Path):
    with server_process(tmp_path, grace=0.1) as server:
        asking = Asking(server)
        server.signal(signal.SIGTERM)
        asking.join()
        assert not isinstance(asking.got, httpx.Response) or asking.got.status_code != 200
        assert server.ended() == (0, "closed")


def test_its_file_opens_it_to_its_user_alone_and_its_log_tells_no_secrets(tmp_path: Path):
    ada = new_token(tmp_path / "tokens.json", name="ada's phone", namespaces=["ada"], writes=True)
    log, directory = tmp_path / "access.log", tmp_path / "memory"
    with server_process(directory, tokens=tmp_path / "tokens.json", log=log) as server:
        assert stat.S_IMODE((directory / FILE).stat().st_mode) == 0o600
        found = find_server(directory)
        assert found is not None
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {ada}"}) as client:
            client.post("/v1/items", json={"items": [{"id": "private-id", "text": "A private text."}]})
            client.post("/v1/search?namespace=ada", json={"text": "private question"})
            client.get("/v1/pictures", params={"id": "private-id"})
            assert client.get("/v1/nothing/here").status_code == 404
        local = {"Authorization": f"Bearer {found.token}"}
        assert httpx.get(f"{server.url}/v1/namespaces", headers=local).json() == {"namespaces": ["ada"]}
        assert httpx.get(f"{server.url}/v1/namespaces").status_code == 401
        server.signal(signal.SIGINT)
        assert server.ended() == (0, "closed")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told = [(line["method"], line["route"], line["status"], line["caller"]) for line in lines]
    assert told == [
        ("POST", "/v1/items", 200, "ada's phone"),
        ("POST", "/v1/search", 200, "ada's phone"),
        ("GET", "/v1/pictures", 404, "ada's phone"),
        ("GET", "other", 404, None),
        ("GET", "/v1/namespaces", 200, "local"),
        ("GET", "/v1/namespaces", 401, None),
    ]
    assert not any(secret in log.read_text() for secret in (ada, found.token, "private", "namespace="))


def test_a_page_in_a_browser_reaches_no_server_without_tokens(tmp_path: Path):
    with server_process(tmp_path) as server:
        port = httpx.URL(server.url).port
        assert httpx.get(f"{server.url}/v1/memory", headers={"Host": f"evil.example:{port}"}).status_code == 400
        written = '{"items": [{"text": "A."}]}'
        simple = httpx.post(f"{server.url}/v1/items", content=written, headers={"Content-Type": "text/plain"})
        assert simple.status_code == 422, "which a page may send to any address, unasked"
        assert httpx.post(f"{server.url}/v1/items/count", json={}).json() == {"count": 0}


def test_where_others_would_reach_it_it_wants_tokens_and_tls(tmp_path: Path):
    with pytest.raises(TokenError, match="comem token"):
        Address(tokens=tmp_path / "tokens.json")
    new_token(tmp_path / "tokens.json", name="ada", namespaces=["ada"], writes=True)
    for host in ("0.0.0.0", "::", "memory.example.org"):
        with pytest.raises(AddressError, match="comem token FILE"):
            Address(host)
        with pytest.raises(AddressError, match="--tls-cert"):
            Address(host, tokens=tmp_path / "tokens.json")
        assert not Address(host, tokens=tmp_path / "tokens.json", plain_http=True).is_local
    assert Address("::1").is_local and Address("localhost").is_local
    with pytest.raises(AddressError, match="both"):
        Address(certificate=tmp_path / "cert.pem")
    bound = Address().bind()
    with bound, pytest.raises(AddressError, match="cannot be listened on"):
        Address(port=bound.getsockname()[1]).bind()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="Nothing here makes a certificate.")
def test_it_speaks_tls(tmp_path: Path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {key} -out {certificate} -subj /CN=localhost"
    subprocess.run([*made.split(), "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    with server_process(tmp_path / "memory", host="localhost", certificate=certificate, key=key) as server:
        assert server.url.startswith("https://localhost:")
        verified = ssl.create_default_context(cafile=str(certificate))
        assert httpx.get(f"{server.url}/health", verify=verified).json() == {"status": "ok"}
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")
    with pytest.raises(AddressError, match="cannot be used for TLS"):
        Address(certificate=key, key=certificate)


def test_the_command_says_where_it_serves_what(tmp_path: Path):
    base, adapter = save_tiny(tmp_path)
    comem = [Path(sys.executable).with_name("comem"), "--directory", tmp_path / "memory", "--namespace", "ada"]
    serve = [*comem, "--model", base, "--adapter", adapter, "serve", "--port", "0", "--log", tmp_path / "access.log"]
    limited = [*serve, "--max-items", "1"]
    wrong = CliRunner().invoke(app, ["--directory", str(tmp_path / "memory"), "serve", "--rate", "often"])
    assert wrong.exit_code == 2 and "rate" in wrong.output and not (tmp_path / "memory").exists()
    process = subprocess.Popen(limited, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = said.split()[-1]
        assert said == f"Serving {tmp_path / 'memory'} on {url}\n"
        one, two = [{"text": "A."}], [{"text": "A."}, {"text": "B."}]
        assert httpx.post(f"{url}/v1/items", json={"items": one}, timeout=60).status_code == 200
        assert httpx.post(f"{url}/v1/items", json={"items": two}).json()["type"] == "LimitError"
        assert httpx.get(f"{url}/v1/namespaces").json() == {"namespaces": ["ada"]}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
