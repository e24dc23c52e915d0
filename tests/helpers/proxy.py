"""A proxy on this machine that closes kept connections, as load balancers and servers that stop do."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit


@contextmanager
def one_answer_per_connection(url: str) -> Iterator[str]:
    """The URL of a proxy of a server: it keeps each connection open until a second request, and closes it unanswered.

    Args:
        url: The server's, `http://host:port`.
    """
    address = urlsplit(url).hostname, urlsplit(url).port

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            answered = False
            with socket.create_connection(address) as server:
                while True:
                    for sender in select.select([self.request, server], [], [])[0]:
                        data = sender.recv(65536)
                        if not data or (answered and sender is self.request):
                            return
                        answered = sender is server
                        (self.request if answered else server).sendall(data)

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as proxy:
        proxy.daemon_threads = True
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()
