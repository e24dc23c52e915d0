"""A reverse proxy before a server on this machine: it asks for tokens, speaks TLS, refuses, breaks off or is slow."""

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx


@dataclass
class Asked:
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


Answer = tuple[int, str]
"""Status and text."""
Rule = Callable[[Asked], Answer | None]
"""What the proxy answers itself; `None` for what the server does. It may raise `BreakOffError`."""


class BreakOffError(Exception):
    """The proxy closes the connection without an answer.

    Args:
        after: The server has carried the request out.
    """

    def __init__(self, *, after: bool = False) -> None:
        self.after = after


@dataclass
class Gateway:
    """An open proxy.

    Args:
        url: Where it is.
        asked: What arrived.
        rule: What it does; may be set while it is open.
    """

    url: str
    rule: Rule
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def gateway(server: str, rule: Rule = lambda _: None, *, tls: tuple[Path, Path] | None = None) -> Iterator[Gateway]:
    """A proxy of a server.

    Args:
        server: Its URL.
        rule: What the proxy does.
        tls: Certificate and key, for https.
    """

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.loads(content) if content else None
            asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            opened.asked.append(asked)
            try:
                status, text = opened.rule(asked) or self.forwarded(content)
            except BreakOffError as error:
                if error.after:
                    self.forwarded(content)
                self.close_connection = True
                self.connection.shutdown(2)
                return
            answer = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_DELETE = do  # noqa: N815

        def forwarded(self, content: bytes) -> Answer:
            headers = {"Content-Type": "application/json"}
            answer = httpx.request(self.command, server + self.path, content=content, headers=headers, timeout=60)
            return answer.status_code, answer.text

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        proxy.daemon_threads = True
        scheme = "http"
        if tls is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*tls)
            proxy.socket, scheme = context.wrap_socket(proxy.socket, server_side=True), "https"
        opened = Gateway(f"{scheme}://127.0.0.1:{proxy.server_address[1]}", rule)
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield opened
        finally:
            proxy.shutdown()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Certificate and key of this machine, by no authority but itself."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key
