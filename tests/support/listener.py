"""A server that does the same for every client, and clients that ask it, directly or through a tunnel."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

CHUNK = 65536


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Yield the port of a server on loopback that calls `serve` with every client, in a thread."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:

        def attend(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):  # a client may go whenever it likes
                serve(client)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=attend, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def asked(port: int, data: bytes) -> bytes:
    """Send data to a port and return the whole answer, read while it is sent; empty if the server hangs up at once."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        thread = threading.Thread(target=_send, args=(client, data))
        thread.start()
        answer = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while chunk := client.recv(CHUNK):
                answer += chunk
        thread.join()
        return bytes(answer)


def all_asked(port: int, payloads: Mapping[int, bytes]) -> dict[int, bytes]:
    """Return the answers to several payloads, sent at the same time, by the payloads' numbers."""
    with ThreadPoolExecutor(len(payloads)) as pool:
        return dict(zip(payloads, pool.map(lambda data: asked(port, data), payloads.values()), strict=True))


def _send(client: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
