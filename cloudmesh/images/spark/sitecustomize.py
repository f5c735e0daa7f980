"""Lets the driver's program write directly to the container's output. Python runs this when it starts (entrypoint.sh).

spark-submit gives a Python program one pipe for both streams, copies what arrives there, and does not wait for the end
of the copying: the last output may be lost, and errors are mixed with the results.

It also lets the program end when its main has ended, whatever threads are left (see run_driver.py). Python by itself
waits for all threads that are no daemons.
"""

import os
import sys
import threading
from pathlib import Path


def attach(outputs: str) -> None:
    """Make the files `1` and `2` in the folder `outputs` the standard output and standard error of this process."""
    for stream in (1, 2):
        target = os.open(f"{outputs}/{stream}", os.O_WRONLY | os.O_APPEND)
        os.dup2(target, stream)
        os.close(target)


def is_program() -> bool:
    """Return whether this process runs a file. Spark's helpers are modules, and send their output to Spark."""
    return len(sys.orig_argv) > 1 and not sys.orig_argv[1].startswith("-")


def leave_threads() -> None:
    """Say which threads are left, and do not wait for them: what Python does of itself when main has ended."""
    main = threading.main_thread()
    left = sorted(thread.name for thread in threading.enumerate() if not thread.daemon and thread is not main)
    if left:
        # Not by sys.stderr, which a thread may have locked.
        os.write(2, f"driver: main has ended; threads that are left end with it: {', '.join(left[:5])}\n".encode())


OUTPUTS = os.environ.get("CMS_OUTPUTS", "")
if OUTPUTS and is_program() and not os.path.samestat(os.fstat(1), Path(OUTPUTS, "1").stat()):
    # Programs that this one starts write where it tells them to, and end as they do elsewhere.
    del os.environ["CMS_OUTPUTS"]
    if os.environ.pop("CMS_END_WITH_MAIN", ""):
        threading._shutdown = leave_threads
    attach(OUTPUTS)
