"""How long work gets on: a live display on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from cloudmesh.cluster.command.console.text import printable

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


REFRESH_PER_SECOND = 8
STOP_SECONDS = 1.0


@dataclass(frozen=True)
class _Row:
    """What one place is doing; `ended` and `began` are readings of the monotonic clock."""

    what: str
    began: float
    ended: float = 0.0
    failed: bool = False


class Progress:
    """A `core.report.Report`, safe to call from many threads. A context manager: leaving it gives the terminal back.

    Args:
        stream: where to write; stderr if not given.
        terminal: whether to show the live display; if not given: whether the stream is a terminal that can do it.
        clock: seconds, for elapsed times.
    """

    def __init__(
        self, stream: TextIO | None = None, *, terminal: bool | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = _can_animate(self._stream) if terminal is None else terminal
        self._clock = clock
        self._lock = threading.RLock()
        self._rows: dict[str, _Row] = {}
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def step(self, where: str, what: str) -> None:
        """Tell that `where` has begun `what`; the elapsed time shown counts from its first step."""
        with self._lock:
            row = self._rows.get(where)
            began = row.began if row and not row.ended else self._clock()
            self._show(where, _Row(printable(what), began), what)

    def done(self, where: str, what: str = "") -> None:
        """Tell that `where` has finished."""
        self._end(where, what or "done", failed=False)

    def failed(self, where: str, why: str) -> None:
        """Tell that `where` will do no more."""
        self._end(where, why, failed=True)

    def note(self, text: str) -> None:
        """Tell the user one line."""
        with self._lock:
            if self._live:
                self._live.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
            else:
                self._line(text)

    def stop(self) -> None:
        """Leave the display as it stands; the next step begins a new one."""
        # Ctrl-C must not wait for a thread that holds the lock while it asks a question.
        taken = self._lock.acquire(timeout=STOP_SECONDS)
        live, self._live = self._live, None
        if live:
            live.stop()
        self._rows.clear()
        if taken:
            self._lock.release()

    @contextmanager
    def suspended(self) -> Iterator[TextIO]:
        """Give the stream to the caller, for a question or a job's log; no thread reports meanwhile."""
        with self._lock:
            if self._live:
                self._live.stop()
                self._live = None
            yield self._stream

    def _end(self, where: str, what: str, *, failed: bool) -> None:
        with self._lock:
            row = self._rows.get(where) or _Row("", self._clock())
            row = replace(row, what=printable(what), ended=self._clock(), failed=failed)
            said = f"failed: {what}" if failed else what
            self._show(where, row, f"{said} ({_elapsed(row.ended - row.began)})")

    def _show(self, where: str, row: _Row, line: str) -> None:
        self._rows[where] = row
        if not self._terminal:
            self._line(f"{where}: {line}")
        elif not self._live:
            self._live = self._display()
            self._live.start(refresh=True)

    def _line(self, text: str) -> None:
        self._stream.write(printable(text).rstrip("\n") + "\n")
        self._stream.flush()

    def _display(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, force_terminal=True, highlight=False)
        return Live(
            console=console,
            get_renderable=self._table,
            refresh_per_second=REFRESH_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        for _ in range(4):
            table.add_column(no_wrap=True, overflow="ellipsis")
        # A copy instead of the lock: rich holds a lock of its own here, which `note` and `stop` wait for.
        for where, row in list(self._rows.items()):
            sign, style = _sign(row)
            elapsed = _elapsed((row.ended or self._clock()) - row.began)
            table.add_row(Text(sign, style), Text(where, "bold"), Text(row.what), Text(elapsed, "dim"))
        return table


def _sign(row: _Row) -> tuple[str, str]:
    if row.failed:
        return "✗", "red"
    return ("✓", "green") if row.ended else ("•", "cyan")


def _elapsed(seconds: float) -> str:
    """Return a time in the shortest form that tells enough: "0.4 s", "12 s", "3m 05s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60}m {whole % 60:02}s"


def _can_animate(stream: Any) -> bool:
    return bool(stream.isatty()) and os.environ.get("TERM", "dumb") != "dumb"
