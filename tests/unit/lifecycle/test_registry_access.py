"""Who may push to the cluster's registry: servers and operators, and no worker; real registries, as hosts get them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.registry import BINARY
from support.sshd import free_port
from support.waiting import wait_until

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.certificates import KeyPair
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec, HostPlan
from cloudmesh.cluster.core.errors import ImageError
from cloudmesh.cluster.core.model import Facts, Host, Role
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.lifecycle import plan
from cloudmesh.cluster.ssh.tls import TlsProxy, client_context

pytestmark = pytest.mark.skipif(not BINARY, reason="docker-registry is not installed")

SECRETS = ClusterSecrets(
    certificates.new_authority("demo"), {"token": "t0ken"}, certificates.new_authority("demo writers")
)
SPEC = ClusterSpec("demo", "abc", "nomad", ("127.0.0.1",), SECRETS)


def make_files(spec: ClusterSpec, address: str, role: Role) -> dict[str, bytes]:
    facts = Facts("m", "h", address, "debian-13", "amd64", 2, 4096, 20000, 0, 0)
    return plan.host_files(
        spec, HostPlan(Host("h"), facts, role, True, "root@h:22", "ssh-ed25519 AAAA", node="h"), [], [4646]
    )


@contextmanager
def serving(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Yield the ports of the registries that a server has, for readers and for writers."""
    readers, writers = free_port(), free_port()
    monkeypatch.setattr(plan, "REGISTRY_PORT", readers)
    monkeypatch.setattr(plan, "REGISTRY_WRITER_PORT", writers)
    monkeypatch.setattr(plan, "_CONFIG", str(folder))
    monkeypatch.setattr(plan, "_REGISTRY_DATA", str(folder / "data"))
    for name, content in make_files(SPEC, "127.0.0.1", Role.SERVER).items():
        if name.startswith("etc/"):
            (folder / name.removeprefix("etc/")).write_bytes(content)
    with ExitStack() as stack:
        for config in ("registry.yml", "registry-writer.yml"):
            with (folder / f"{config}.log").open("wb") as log:
                process = subprocess.Popen([str(BINARY), "serve", str(folder / config)], stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield readers, writers


@contextmanager
def open_as(pair: KeyPair, port: int) -> Iterator[Registry]:
    context = client_context(SECRETS.authority.certificate, pair.certificate, pair.key)
    with TlsProxy(port, context, certificates.REGISTRY_NAME) as proxy:
        yield Registry(proxy.port)


def answers(pair: KeyPair, port: int) -> bool:
    with open_as(pair, port) as registry:
        try:
            return not registry.has_blob("a/b", f"sha256:{'0' * 64}")
        except ImageError:
            return False


def test_a_worker_reads_and_never_writes_and_an_operator_does_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_files(SPEC, "127.0.0.2", Role.WORKER)
    worker = KeyPair(files["etc/host.pem"], files["etc/host-key.pem"])
    assert SECRETS.writers
    operator = certificates.issue(SECRETS.writers, "operator")
    with serving(tmp_path, monkeypatch) as (readers, writers):
        for pair, port in ((worker, readers), (operator, writers)):
            assert wait_until(lambda pair=pair, port=port: answers(pair, port), 10, pause=0.05)
        with open_as(operator, writers) as registry:
            digest = registry.put_blob("a/b", b"content")
        with open_as(worker, readers) as registry:
            assert registry.has_blob("a/b", digest)
            with pytest.raises(ImageError, match="refused POST"):
                registry.put_blob("a/b", b"a worm")
        with open_as(worker, writers) as registry, pytest.raises(ImageError, match="does not answer"):
            registry.put_blob("a/b", b"a worm")
        with open_as(operator, readers) as registry, pytest.raises(ImageError, match="does not answer"):
            registry.has_blob("a/b", digest)


def test_no_worker_gets_the_writers_key_and_a_server_keeps_it() -> None:
    assert SECRETS.writers
    worker = make_files(SPEC, "10.0.0.2", Role.WORKER)
    assert not any(SECRETS.writers.key in content for content in worker.values())
    assert ClusterSecrets.loads(make_files(SPEC, "127.0.0.1", Role.SERVER)["etc/secrets.json"]) == SECRETS


def test_a_cluster_of_before_there_were_writers_keeps_its_one_registry() -> None:
    old = replace(SPEC, secrets=replace(SECRETS, writers=None))
    files = make_files(old, "127.0.0.1", Role.SERVER)
    assert "units/cloudmesh-registry-writer.service" not in files
    assert b"readonly" not in files["etc/registry.yml"]
    assert ClusterSecrets.loads(old.secrets.dumps()) == old.secrets
