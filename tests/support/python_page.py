"""The examples of docs/python.md, run as a reader would run them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support.cms import environment

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)


def run_example(mention: str, replacements: Mapping[str, str], home: Path, seconds: float) -> str:
    """Run the one example that mentions something, in the folder of the example jobs, and return what it prints.

    Args:
        mention: a text that only this example has.
        replacements: the page's names of clusters and hosts, and those to write instead; each is in the example.
        home: the home directory.
        seconds: that it may take.

    AssertionError: the example fails.
    """
    (example,) = [example for example in EXAMPLES if mention in example]
    for written, meant in replacements.items():
        assert written in example
        example = example.replace(written, meant)
    ended = subprocess.run(
        [sys.executable, "-c", example],
        cwd=ROOT / "examples",
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
