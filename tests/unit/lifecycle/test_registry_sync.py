"""A server's registry fetches what another one has, by the script and the configuration that servers get."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.registry import BINARY, RegistryProcess
from support.sshd import free_port
from support.waiting import wait_until

from cloudmesh.cluster.core import archive, certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec, HostPlan
from cloudmesh.cluster.core.model import Facts, Host, Role
from cloudmesh.cluster.images import layers
from cloudmesh.cluster.images.registry import Registry
from cloudmesh.cluster.lifecycle import plan
from cloudmesh.cluster.ssh import host_script

pytestmark = pytest.mark.skipif(not BINARY, reason="docker-registry is not installed")

SERVERS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
SECRETS = ClusterSecrets(certificates.new_authority("demo"), {}, certificates.new_authority("demo writers"))
SPEC = ClusterSpec("demo", "abc", "nomad", SERVERS, SECRETS)


@dataclass
class Server:
    """A server without a machine: its folders, and on its loopback address the registry that hosts read."""

    folder: Path
    address: str
    port: int

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @contextmanager
    def serving(self) -> Iterator[None]:
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(BINARY), "serve", str(self.folder / "registry.yml")], stdout=log, stderr=log
            )
        try:
            assert wait_until(lambda: self.ask("/v2/", "GET") == "200", 10, pause=0.05)
            yield
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def writing(self) -> Iterator[Registry]:
        """Yield a registry with the same data, into which everybody may write."""
        with RegistryProcess(self.folder) as process:
            yield Registry(process.port)

    def ask(self, path: str, method: str = "HEAD") -> str:
        """Return the status of a host's request."""
        keys = ("--cacert", "ca.pem", "--cert", "host.pem", "--key", "host-key.pem")
        accept = ("-H", f"Accept: {layers.MANIFEST}")
        where = ("--connect-to", f"::{self.address}:", f"https://registry.cloudmesh:{self.port}{path}")
        command = ["curl", "-s", "--max-time", "5", *keys, *accept, *where, "-o", "/dev/null", "-w", "%{http_code}"]
        head = ["--head"] if method == "HEAD" else []
        return self._run(*command, *head).stdout

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, check=False, cwd=self.folder, capture_output=True, text=True)

    def sync(self, verb: str, pushed: dict[tuple[str, str], str] | None = None) -> str:
        """Run the script; return why it failed."""
        script = self._adapt("host/registry-sync.sh").replace(
            "registry.cloudmesh:5443", f"registry.cloudmesh:{self.port}"
        )
        lines = [f"{repo} {tag} {digest.partition(':')[2]}\n" for (repo, tag), digest in (pushed or {}).items()]
        (self.folder / "pushed").write_text("".join(lines))
        run = self._run("sh", "-c", script, "sync", verb)
        assert not list(self.data.glob("sync.*"))
        assert (run.returncode == 0) == ("::fail" not in run.stdout)
        return run.stdout

    def collect(self, minutes: float = 0) -> None:
        """Take out what no job needs and is older, twice: the first time, blobs are set aside."""
        for _ in range(2):
            run = self._run("sh", "-c", self._adapt("host/registry-collect.sh"), "collect", str(minutes))
            assert run.stderr == ""
        assert not list(self.data.glob("collect.*"))

    def have_jobs(self, *job_ids: str, answers: bool = True) -> None:
        """Let the engine have these jobs, and no others."""
        lines = "".join(f"echo {job_id}\n" for job_id in job_ids)
        (self.folder / "jobs.sh").write_text(f"{lines}exit {int(not answers)}\n")

    def _adapt(self, name: str) -> str:
        """Return a host's script for this server's folders."""
        script = host_script.load(name)
        for there, here in (
            ("CONFIG=/etc/cloudmesh/cluster", f"CONFIG={self.folder}"),
            ("DATA=/var/lib/cloudmesh/registry", f"DATA={self.data}"),
        ):
            assert there in script
            script = script.replace(there, here)
        return script


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    """Three servers, as `create` would make them; none of them serves."""
    port = free_port()
    monkeypatch.setattr(plan, "REGISTRY_PORT", port)
    return [make_server(tmp_path / address, address, port, monkeypatch) for address in SERVERS]


def make_server(folder: Path, address: str, port: int, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(plan, "_CONFIG", str(folder))
    monkeypatch.setattr(plan, "_REGISTRY_DATA", str(folder / "data"))
    facts = Facts("m", "h", address, "debian-13", "amd64", 2, 4096, 20000, 0, 0)
    host = HostPlan(Host("h"), facts, Role.SERVER, True, "root@h:22", "ssh-ed25519 AAAA", node="h")
    for name, content in plan.host_files(SPEC, host, [], [4646]).items():
        file = folder / name.removeprefix("etc/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return Server(folder, address, port)


def put_image(registry: Registry, folder: Path, repository: str, content: bytes, tag: str = "1") -> None:
    (folder / "program").write_bytes(content)
    layer = layers.pack_program(folder / "program", "/program", folder / "layer")
    registry.put_image(repository, tag, layer, {}, content="sha256:" + "0" * 64)


def test_an_image_that_was_pushed_is_fetched_with_all_that_belongs_to_it(servers: list[Server]) -> None:
    first, second, _ = servers
    with first.writing() as registry:
        put_image(registry, first.folder, "team/tool", b"a program")
        registry.append_layer("team/tool", "1", layers_of_a_job(), "cms-jobs/one", "abc")
        pushed = registry.pushed
    with first.serving():
        assert second.sync("pushed", pushed) == ""
    with second.serving():
        for (repository, tag), digest in pushed.items():
            assert second.ask(f"/v2/{repository}/manifests/{tag}") == "200"
            assert second.ask(f"/v2/{repository}/manifests/{digest}") == "200"
    with second.writing() as registry:
        for repository, tag in pushed:
            assert registry.digest(repository, tag) == pushed[repository, tag]
        # A job's files can be put on what was fetched.
        registry.append_layer("team/tool", "1", layers_of_a_job(b"other"), "cms-jobs/two", "abc")
    assert stored(second) >= stored(first)


def layers_of_a_job(content: bytes = b"a file") -> bytes:
    return gzip.compress(archive.pack({"file": (content, 0o644)}), mtime=0)


def stored(server: Server) -> set[str]:
    return {file.parent.name for file in server.data.glob("**/blobs/sha256/*/*/data")}


def test_the_next_server_is_asked_where_one_is_silent_or_has_not_the_image(servers: list[Server]) -> None:
    first, second, third = servers
    with third.writing() as registry:
        put_image(registry, third.folder, "team/tool", b"a program")
        pushed = registry.pushed
    with third.serving():
        assert second.sync("pushed", pushed) == ""
    with second.serving(), third.serving():
        assert first.sync("pushed", pushed) == ""
    assert stored(first) == stored(third)


def test_what_no_other_server_has_is_told(servers: list[Server]) -> None:
    first, second, _ = servers
    with first.serving():
        why = second.sync("pushed", {("team/tool", "1"): f"sha256:{'0' * 64}"})
    assert why.startswith("::fail the registry here did not get team/tool:1 from another server: curl: ")


def test_a_server_that_was_away_fetches_all_images_and_the_engines_files(servers: list[Server]) -> None:
    first, second, third = servers
    with first.writing() as registry:
        put_image(registry, first.folder, "team/tool", b"a program")
        put_image(registry, first.folder, "team/tool", b"another program", "2")
        registry.append_layer("team/tool", "2", layers_of_a_job(), "cms-jobs/one", "abc")
        digest = registry.put_blob("cloudmesh/engine", b"an agent")
        registry.name_blobs("cloudmesh/engine", "nomad-1", {digest: 8})
    with second.writing() as registry:
        put_image(registry, second.folder, "team/own", b"a third program")
    with first.serving(), second.serving():
        third.sync("all")
    assert stored(third) == stored(first) | stored(second)
    with third.serving():
        assert third.ask(f"/v2/cloudmesh/engine/blobs/{digest}") == "200"
        for image in ("team/tool/manifests/2", "team/own/manifests/1", "cms-jobs/one/manifests/abc"):
            assert third.ask(f"/v2/{image}") == "200"


def test_a_tag_that_a_server_has_stays_and_the_other_image_can_be_pulled_by_its_digest(servers: list[Server]) -> None:
    first, second, _ = servers
    digests = []
    for server, content in ((first, b"a program"), (second, b"another")):
        with server.writing() as registry:
            put_image(registry, server.folder, "team/tool", content)
            digests.append(registry.digest("team/tool", "1"))
    with first.serving():
        second.sync("all")
    with second.writing() as registry:
        assert registry.digest("team/tool", "1") == digests[1]
        assert registry.has_manifest("team/tool", digests[0])
    with first.serving():
        second.sync("pushed", {("team/tool", "1"): digests[0]})
    with second.writing() as registry:
        assert registry.digest("team/tool", "1") == digests[0]


def test_an_image_for_several_platforms_comes_with_all_of_them(servers: list[Server]) -> None:
    first, second, _ = servers
    with first.writing() as registry:
        put_image(registry, first.folder, "team/tool", b"a program")
        part = registry.digest("team/tool", "1")
        entry = {"mediaType": layers.MANIFEST, "digest": part, "size": 1, "platform": {"os": "linux"}}
        index = {"schemaVersion": 2, "mediaType": layers.INDEXES[0], "manifests": [entry]}
        registry.put_manifest("team/tool", "all", json.dumps(index, indent=1).encode(), layers.INDEXES[0])
        pushed = {("team/tool", "all"): registry.digest("team/tool", "all")}
    with first.serving():
        assert second.sync("pushed", pushed) == ""
    with second.writing() as registry:
        assert registry.digest("team/tool", "all") == pushed["team/tool", "all"]
        assert registry.has_manifest("team/tool", part)


def test_a_blob_that_came_damaged_is_not_kept(servers: list[Server]) -> None:
    first, second, _ = servers
    with first.writing() as registry:
        put_image(registry, first.folder, "team/tool", b"a program")
        pushed = registry.pushed
    (largest,) = sorted(first.data.glob("**/blobs/sha256/*/*/data"), key=lambda file: file.stat().st_size)[-1:]
    largest.write_bytes(largest.read_bytes()[:-1] + b"?")
    with first.serving():
        assert "::fail" in second.sync("pushed", pushed)
    assert largest.parent.name not in stored(second)
    with second.serving():
        assert second.ask("/v2/team/tool/manifests/1") == "404"


def test_where_no_other_server_answers_nothing_is_wrong(servers: list[Server]) -> None:
    assert servers[0].sync("all") == ""


def put_jobs(server: Server, *job_ids: str) -> dict[str, str]:
    """Put an image and those of jobs into a registry; return the digests of the latter by job."""
    with server.writing() as registry:
        put_image(registry, server.folder, "team/tool", b"a program")
        for job_id in job_ids:
            registry.append_layer("team/tool", "1", layers_of_a_job(job_id.encode()), f"cms-jobs/{job_id}", "abc")
        return {job_id: registry.digest(f"cms-jobs/{job_id}", "abc") for job_id in job_ids}


def test_the_image_of_a_job_goes_with_it_and_what_others_need_stays(servers: list[Server]) -> None:
    server = servers[0]
    digests = put_jobs(server, "one", "two")
    server.have_jobs("two", "other")
    before = stored(server)
    server.collect()
    assert digests["one"].partition(":")[2] not in stored(server)
    assert len(before - stored(server)) == 3, "its manifest, its configuration and its files"
    with server.serving():
        assert server.ask("/v2/cms-jobs/one/manifests/abc") == "404"
        assert server.ask("/v2/cms-jobs/two/manifests/abc") == "200"
        assert server.ask("/v2/team/tool/manifests/1") == "200"
    # The same job again brings the same image.
    assert put_jobs(server, "one", "two") == digests
    assert stored(server) == before


def test_nothing_goes_where_the_engine_does_not_say_which_jobs_it_has(servers: list[Server]) -> None:
    server = servers[0]
    put_jobs(server, "one")
    before = stored(server)
    server.have_jobs(answers=False)
    run = server._run("sh", "-c", server._adapt("host/registry-collect.sh"), "collect", "0")
    assert run.returncode == 1
    assert stored(server) == before


def test_an_image_whose_job_is_still_to_come_stays(servers: list[Server]) -> None:
    server = servers[0]
    put_jobs(server, "one")
    server.have_jobs()
    for file in server.data.rglob("*"):
        os.utime(file, (time.time() - 7200,) * 2)
    put_jobs(server, "one")  # it is there, and written again
    before = stored(server)
    server.collect(60)
    assert stored(server) == before
    server.collect()
    assert stored(server) != before


def test_a_blob_that_a_push_has_found_meanwhile_comes_back(servers: list[Server]) -> None:
    server = servers[0]
    put_jobs(server, "one")
    server.have_jobs()
    before, links = stored(server), server.data / "docker/registry/v2/repositories/cms-jobs"
    saved = server.folder / "saved"
    shutil.copytree(links, saved)
    script = server._adapt("host/registry-collect.sh")
    server._run("sh", "-c", script, "collect", "0")
    assert stored(server) != before
    shutil.copytree(saved, links, dirs_exist_ok=True)
    server.have_jobs("one")
    server._run("sh", "-c", script, "collect", "0")
    assert stored(server) == before


def test_a_server_does_not_fetch_the_image_of_a_job_that_is_gone(servers: list[Server]) -> None:
    first, second, _ = servers
    put_jobs(first, "one", "two")
    second.have_jobs("two")
    with first.serving():
        second.sync("all")
    with second.serving():
        assert second.ask("/v2/cms-jobs/one/manifests/abc") == "404"
        assert second.ask("/v2/cms-jobs/two/manifests/abc") == "200"
