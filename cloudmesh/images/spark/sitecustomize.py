"""Has the driver's program write to the container's own output. Python runs this at its start (see entrypoint.sh).

spark-submit gives a Python program one pipe for both streams, copies what comes out of it, and does not wait for the
copy's end: what is printed last may be lost, and errors come out among the results.
"""

import os
import sys
from pathlib import Path


def attach(outputs: str) -> None:
    """Let this process write to what the files `1` and `2` in the folder `outputs` are."""
    for stream in (1, 2):
        target = os.open(f"{outputs}/{stream}", os.O_WRONLY | os.O_APPEND)
        os.dup2(target, stream)
        os.close(target)


def is_program() -> bool:
    """Return whether this process runs a file; Spark's own helpers are modules, and talk to it by their output."""
    return len(sys.orig_argv) > 1 and not sys.orig_argv[1].startswith("-")


OUTPUTS = os.environ.get("CMS_OUTPUTS", "")
if OUTPUTS and is_program() and not os.path.samestat(os.fstat(1), Path(OUTPUTS, "1").stat()):
    attach(OUTPUTS)
    # What this program starts has the output that it is given.
    del os.environ["CMS_OUTPUTS"]
