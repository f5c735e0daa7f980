"""What the plugin adds to the start of `cms`: `cms cluster -h` against an empty plugin's help, in turns.

Prints the medians in milliseconds and ends with 1 where the difference is more than the design allows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path

ALLOWED_MS = 30.0
ROOT = Path(__file__).resolve().parents[1]
EMPTY = '''
    from cloudmesh.shell.command import PluginCommand, command


    class EmptyCommand(PluginCommand):
        @command
        def do_empty(self, args, arguments):
            """::

            Usage:
              empty
            """
'''


def write_empty_plugin(directory: Path) -> None:
    """Write a plugin `empty` that does nothing."""
    package = directory / "cloudmesh" / "empty" / "command"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "empty.py").write_text(textwrap.dedent(EMPTY), encoding="utf-8")


def measure_start(name: str, environment: Mapping[str, str]) -> float:
    """Return how many seconds `cms NAME -h` takes."""
    program = [sys.executable, "-c", "from cloudmesh.shell.shell import main; main()", name, "-h"]
    begin = time.perf_counter()
    done = subprocess.run(program, env=dict(environment), check=True, capture_output=True, text=True)  # noqa: S603
    assert f"{name}" in done.stdout, done.stdout + done.stderr  # noqa: S101
    return time.perf_counter() - begin


def measure_medians(rounds: int) -> tuple[float, float]:
    """Return the median milliseconds of the plugin's help and of the empty plugin's, measured in turns."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write_empty_plugin(directory)
        environment = os.environ | {"PYTHONPATH": f"{directory}:{ROOT}", "CLOUDMESH_CONFIG_DIR": f"{directory}/config"}
        times: dict[str, list[float]] = {"cluster": [], "empty": []}
        for turn in range(rounds + 1):
            for name, measured in times.items():
                seconds = measure_start(name, environment)
                if turn:  # the first turn fills the caches
                    measured.append(seconds)
    return 1000 * statistics.median(times["cluster"]), 1000 * statistics.median(times["empty"])


def main() -> int:
    """Measure, print, and return 1 if the plugin adds more than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    ours, empty = measure_medians(parser.parse_args().rounds)
    sys.stdout.write(f"cms cluster -h {ours:.0f} ms, an empty plugin {empty:.0f} ms, added {ours - empty:.1f} ms\n")
    return ours - empty > ALLOWED_MS


if __name__ == "__main__":
    sys.exit(main())
