"""What the processes of this machine were given, also those of hosts that are containers on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class ProcessWatch:
    """Reads arguments and environments of all processes again and again.

    Attributes:
        arguments: all that were seen.
        environments: all that were seen.
        rounds: how often it has looked.
    """

    arguments: set[bytes] = field(default_factory=set)
    environments: set[bytes] = field(default_factory=set)
    rounds: int = 0
    _is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look until `stop` is called."""
        took = 0.0
        while not self._is_over.wait(0.02 + 2 * took):  # it leaves the processor to those that it looks at
            began = time.monotonic()
            self.rounds += 1
            for path in Path("/proc").glob("[0-9]*"):
                for name, seen in (("cmdline", self.arguments), ("environ", self.environments)):
                    try:
                        seen.add((path / name).read_bytes())
                    except OSError:
                        continue  # it has ended
            took = time.monotonic() - began

    def stop(self) -> None:
        """Look no more."""
        self._is_over.set()


@contextmanager
def watch_processes() -> Iterator[ProcessWatch]:
    """Yield what looks at all processes within the block."""
    watch = ProcessWatch()
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join()


def show(seen: set[bytes], secret: str) -> list[str]:
    """Return those of the arguments or environments in which a secret is."""
    return [content.replace(b"\0", b" ").decode(errors="replace") for content in seen if secret.encode() in content]
