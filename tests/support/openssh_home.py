"""An `ssh` that takes $HOME for the home directory of who runs the tests.

OpenSSH goes by the directory in the passwd database, and a test must not read the configuration and keys there. In
sessions of users both are the same.
"""

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_LIBRARY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

struct passwd *getpwuid(uid_t uid)
{
    struct passwd *(*real)(uid_t) = (struct passwd *(*)(uid_t))dlsym(RTLD_NEXT, "getpwuid");
    struct passwd *entry = real(uid);
    char *home = getenv("HOME");
    if (entry && home && uid == getuid())
        entry->pw_dir = home;
    return entry;
}
"""


def path(before: str) -> str:
    """Return the search path `before` with that `ssh` in front; as it is where `ssh` is not installed."""
    folder = _make_folder()
    return before if folder is None or before.startswith(folder) else f"{folder}{os.pathsep}{before}"


@functools.cache
def _make_folder() -> str | None:
    ssh = shutil.which("ssh")
    if ssh is None:
        return None
    name = hashlib.sha256(f"{ssh}{_LIBRARY}".encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"cms-test-ssh-{os.getuid()}-{name}"
    if not folder.exists():  # once for all tests, also for those that run beside these
        new = Path(tempfile.mkdtemp(dir=folder.parent))
        new.chmod(0o755)
        library = folder / "home.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-x", "c", "-o", new / library.name, "-", "-ldl"],
            input=_LIBRARY.encode(),
            check=True,
        )
        (new / "ssh").write_text(f'#!/bin/sh\nLD_PRELOAD={library} exec {ssh} "$@"\n')
        (new / "ssh").chmod(0o755)
        try:
            new.rename(folder)
        except OSError:
            shutil.rmtree(new)
    return str(folder)
