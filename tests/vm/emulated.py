"""Two machines that QEMU emulates in software, with separate kernels, on a network with each other."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import disk
from support.cms import USER
from support.waiting import wait_until

EMULATOR = "qemu-system-x86_64"
NETWORK = "10.99.0.0/24"  # on which they reach each other; their addresses are in *.network
MEMORY_MB, PROCESSORS = 3072, 2
BOOT_SECONDS = 600
_RUNS = disk.FOLDER / "runs"


@dataclass(frozen=True)
class Machine:
    """A machine; its user USER may use sudo, and nobody can log in as root.

    Attributes:
        index: 1 or 2.
        folder: of this run.
        port: of its sshd, at 127.0.0.1.
    """

    index: int
    folder: Path
    port: int

    @property
    def name(self) -> str:
        """The machine's host name."""
        return f"t-vm-{self.index}"

    @property
    def where(self) -> str:
        """The machine as an operator writes it in a command."""
        return f"127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """The address by which the other machine reaches it."""
        return f"10.99.0.{self.index}"

    @property
    def console(self) -> str:
        """The last words of the kernel and of init."""
        return self._file("console").read_text(errors="replace")[-2000:]

    def run(self, script: str, env: Mapping[str, str] | None = None, seconds: float = 600) -> str:
        """Return the output of a shell script that root runs; AssertionError: the script fails."""
        variables = [f"{name}={value}" for name, value in (env or {}).items()]
        done = subprocess.run(
            [*self._ssh, "sudo", "env", *variables, "sh"],
            input=script,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{self.name}: {script!r} ended with {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout.strip()

    def read_nftables(self) -> str:
        """Return the kernel's nftables, as `nft` lists them."""
        return self.run("nft -s list ruleset")

    def boot(self, system: disk.System, peer_port: int, cable_port: int) -> None:
        """Start the machine.

        Args:
            system: what it boots.
            peer_port: UDP port of the other machine's end of the cable between the two.
            cable_port: UDP port of this machine's end.
        """
        key = " ".join(self.folder.joinpath("key.pub").read_text().split()[:2])
        login = f"f /home/{USER}/.ssh/authorized_keys 600 {USER} {USER} - {key}\n"
        credential = base64.b64encode(login.encode()).decode()
        words = f"root=/dev/vda rw console=ttyS0 panic=10 systemd.hostname={self.name}"
        mac = f"52:54:00:63:%02x:{self.index:02x}"
        drive = self._file("disk")
        subprocess.run(["cp", "--sparse=always", system.disk, drive], check=True)
        command = [
            *("nice", "-n", "10", EMULATOR, "-accel", "tcg,thread=multi", "-cpu", "max"),
            *("-smp", str(PROCESSORS), "-m", str(MEMORY_MB), "-nodefaults", "-display", "none"),
            *("-kernel", system.kernel, "-initrd", system.initrd, "-serial", f"file:{self._file('console')}"),
            *("-append", f"{words} systemd.set_credential_binary=tmpfiles.extra:{credential}"),
            *("-drive", f"file={drive},format=raw,if=virtio,cache=unsafe,discard=unmap"),
            *("-netdev", f"user,id=operator,ipv6=off,hostfwd=tcp:127.0.0.1:{self.port}-:22"),
            *("-device", f"virtio-net-pci,netdev=operator,mac={mac % 0}"),
            *("-netdev", f"socket,id=cluster,udp=127.0.0.1:{peer_port},localaddr=127.0.0.1:{cable_port}"),
            *("-device", f"virtio-net-pci,netdev=cluster,mac={mac % 1}"),
            *("-device", "virtio-rng-pci", "-daemonize", "-pidfile", self._file("pid")),
        ]
        subprocess.run(command, check=True)

    def reboot(self) -> None:
        """Let the machine shut down and boot again."""
        before = self.run("cat /proc/sys/kernel/random/boot_id")
        with contextlib.suppress(AssertionError):  # the session is cut off
            self.run("systemctl reboot", seconds=120)
        self.wait_until_booted(but=before)

    def wait_until_booted(self, but: str = "") -> None:
        """Wait until systemd has started everything, in a boot whose id is not `but`."""

        def is_booted() -> bool:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                boot = self.run("systemctl is-system-running --wait || true; cat /proc/sys/kernel/random/boot_id")
                return boot.split()[-1] != but
            return False

        is_in_time = wait_until(is_booted, BOOT_SECONDS, pause=2)
        assert is_in_time, f"{self.name} does not boot in {BOOT_SECONDS} s: {self.console}"

    def _file(self, kind: str) -> Path:
        return self.folder / f"{self.index}.{kind}"

    @property
    def _ssh(self) -> list[str]:
        options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        return (
            ["ssh", "-F", "none", "-i", str(self.folder / "key"), "-p", str(self.port)]
            + [word for option in (*options, "ConnectTimeout=30") for word in ("-o", option)]
            + [f"{USER}@127.0.0.1"]
        )


@contextmanager
def boot_machines() -> Iterator[tuple[Machine, ...]]:
    """Yield the two running machines; nothing is left of them afterwards, nor of the machines of runs that crashed."""
    _sweep()
    system = disk.provide_system()
    folder = _RUNS / str(os.getpid())
    folder.mkdir(parents=True)
    try:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        first, second, *cable = _find_free_ports(4)
        machines = (Machine(1, folder, first), Machine(2, folder, second))
        for machine, peer_port, cable_port in zip(machines, cable, reversed(cable), strict=True):
            machine.boot(system, peer_port, cable_port)
        with ThreadPoolExecutor() as pool:
            list(pool.map(Machine.wait_until_booted, machines))
        yield machines
    finally:
        _end(folder)


def _sweep() -> None:
    """End what runs left whose test process is gone."""
    for folder in _RUNS.glob("*"):
        if not Path("/proc", folder.name).exists():
            _end(folder)


def _end(folder: Path) -> None:
    for file in folder.glob("*.pid"):
        pid = int(file.read_text())
        # the number may be another process's by now
        with contextlib.suppress(OSError):
            if str(folder).encode() in Path("/proc", str(pid), "cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)


def _find_free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [probe.getsockname()[1] for probe in probes]
