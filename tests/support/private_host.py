"""A real sshd whose users, home directories, sudoers and /tmp are the test's: they lie in a mount namespace of its own.

Nothing of the machine is changed, so nothing has to be taken back.
"""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.sshd import BINARY, Sshd

USER = "op"
FREE = f"{USER} ALL=(ALL) NOPASSWD: ALL"
ASKS = f"{USER} ALL=(ALL) ALL"
_UID = 61234
_HIDE = """
set -e
cd "$1"
shift
mount --bind etc /etc
mount --bind root /root
mount -t tmpfs -o mode=755 tmpfs /home
mkdir /home/op
mount --bind home /home/op
for folder in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
cd /
exec "$@"
"""


def can_be_made() -> bool:
    """Whether this process may make mount namespaces."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/home"]
    return bool(shutil.which("unshare")) and not subprocess.run(command, check=False, capture_output=True).returncode


class PrivateHost(Sshd):
    """An sshd with a user `op` of its own, in `directory`, which all users must be able to enter."""

    def __init__(self, directory: Path, password: str = "", *, root_password: str = "") -> None:
        self._hashes = {USER: _hash(password), "root": _hash(root_password)}
        for folder, mode in (("root", 0o700), ("home", 0o755)):
            (directory / folder).mkdir(mode)
        # All of it: a mount on a file is undone where somebody replaces that file, as useradd does.
        subprocess.run(["cp", "-a", "/etc", directory], check=True)
        for path in (directory / "etc" / "sudoers.d").iterdir():
            path.unlink()
        self.directory = directory
        self.set_up()
        super().__init__(directory, "PermitUserEnvironment yes", "MaxSessions 100", empty_home=False)
        self._public_key = (directory / "authorized_keys").read_text()
        (directory / "authorized_keys").chmod(0o644)

    def start(self) -> None:
        script = ["unshare", "-m", "--propagation", "private", "sh", "-c", _HIDE, "sh", str(self.directory)]
        self.start_as([*script, BINARY])

    def set_up(
        self, *, shell: str = "/bin/bash", files: Mapping[str, str] | None = None, sudoers: str = FREE, forced: str = ""
    ) -> None:
        """Make the users and their files anew.

        Args:
            shell: the login shell of root and of `op`.
            files: in both home directories, by name; "bin/…" can be executed.
            sudoers: the rules.
            forced: the command that the authorized key is bound to.
        """
        lines = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("root:")]
        lines = [f"root:x:0:0::/root:{shell}", *lines, f"{USER}:x:{_UID}:{_UID}::/home/op:{shell}"]
        self._write("etc/passwd", lines, 0o644)
        others = [line for line in Path("/etc/shadow").read_text().splitlines() if not line.startswith("root:")]
        ours = [f"{name}:{hashed}:19000:0:99999:7:::" for name, hashed in self._hashes.items()]
        self._write("etc/shadow", [*others, *ours], 0o640)
        self._write("etc/sudoers.d/rules", [sudoers], 0o440)
        if key := getattr(self, "_public_key", ""):
            self._write("authorized_keys", [f'command="{forced}" {key}' if forced else key], 0o644)
        for home in (self.directory / "home", self.directory / "root"):
            self._clear_home(home)
            for name, content in (files or {}).items():
                path = home / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
                path.chmod(0o755 if name.startswith("bin/") else 0o644)

    def inside(self, script: str) -> str:
        """Run a shell script as this machine's root in the namespace of the host, and return its output."""
        assert self._process
        command = ["nsenter", "-m", "-t", str(self._process.pid), "sh", "-euc", script]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    @contextlib.contextmanager
    def mounted(self, *mounts: str) -> Iterator[None]:
        """Do mounts, each "OPTIONS… WHERE", and take them back."""
        places = []
        try:
            for mount in mounts:
                self.inside(f"mount {mount}")
                places.append(mount.split()[-1])
            yield
        finally:
            for place in reversed(places):
                self.inside(f"umount -l {place}")

    def _write(self, name: str, lines: list[str], mode: int) -> None:
        path = self.directory / name
        path.write_text("".join(f"{line}\n" for line in lines))
        path.chmod(mode)

    @staticmethod
    def _clear_home(home: Path) -> None:
        for path in home.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextlib.contextmanager
def private_host(password: str = "", *, root_password: str = "") -> Iterator[PrivateHost]:
    """Yield a running private host; it is gone afterwards."""
    # sshd reads authorized keys as the user, who may not look into pytest's directories; and /tmp is hidden.
    directory = Path(tempfile.mkdtemp(prefix="t-private-", dir="/var/lib"))
    directory.chmod(0o755)
    try:
        with PrivateHost(directory, password, root_password=root_password) as host:
            yield host
    finally:
        shutil.rmtree(directory)


def _hash(password: str) -> str:
    if not password:
        return "*"
    command = ["openssl", "passwd", "-6", "-stdin"]
    return subprocess.run(command, input=password, check=True, capture_output=True, text=True).stdout.strip()
