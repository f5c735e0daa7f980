"""No secret shows in what a cluster goes through in its life: no command line, output, log, or file that is left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from contract.conftest import PROVIDERS
from contract.test_containers import write_job_file
from support.cms import Operator, Outcome
from support.hosts import ContainerHost, HostCluster, make_unique_name, start_hosts
from support.probes import find_exposed
from support.process_watch import ProcessWatch, show, watch_processes

from cloudmesh.cluster.binaries import provide
from cloudmesh.cluster.binaries.pinned import find_engine, pinned_versions
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.docker_daemon.debian_base import base_image

pytestmark = pytest.mark.cluster

GIVEN = {
    "secret of a job": "word-of-the-job-4711",
    "key of a volume": "key-of-the-lake-4712",
    "passphrase": "horse battery 4713",
}
WORD, KEY, PASSPHRASE = GIVEN.values()
DIGESTS = [hashlib.sha256(secret.encode()).hexdigest() for secret in (WORD, KEY)]
PRINT_DIGESTS = (
    'for secret in "$WORD" "$AWS_SECRET_ACCESS_KEY"; do printf %s "$secret" | sha256sum | cut -d " " -f 1; done'
)
# The hosts' shadows and the like are not ours; what is deleted may still be in journals.
LOGS = "{ journalctl --output=cat; find /var/log -xdev -type f ! -path '/var/log/journal/*' -exec cat {} +; }"


@dataclass
class Life(HostCluster):
    """Two hosts, and later a third, on which a cluster lives.

    Attributes:
        folder: the operator's files, in which secrets may be.
        watch: sees all processes.
        outputs: what each command printed, by its words.
        secrets: all that there were, by what they are.
    """

    SECONDS = 900

    folder: Path
    watch: ProcessWatch
    outputs: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=lambda: dict(GIVEN))

    def cms(self, verb: str, *words: str, seconds: float | None = None) -> Outcome:
        outcome = super().cms(verb, *words, seconds=seconds)
        self.outputs[f"{verb} {' '.join(words)}"] = f"{outcome.stdout}{outcome.stderr}"
        return outcome

    def write(self, name: str, text: str) -> str:
        """Return the path of a file that only the operator reads."""
        file = self.folder / name
        file.touch(0o600)
        file.write_text(text)
        return str(file)

    def learn_secrets(self, when: str) -> None:
        """Read what the cluster itself keeps secret; it is another one after `rotate`."""
        secrets = json.loads(self.server.run("cat /etc/cloudmesh/cluster/secrets.json"))
        # Which networks a cluster of Kubernetes has is kept beside its secrets.
        engine = {name: text for name, text in secrets["engine"].items() if not name.startswith("network ")}
        texts = {"CA key": secrets["ca_key"], **engine}
        for host in self.group.hosts[:2]:
            texts[f"key of {host.name}"] = host.run("cat /etc/cloudmesh/cluster/host-key.pem")
        for name, text in texts.items():
            self.secrets |= {f"{name} {when}": line for line in _first_secret_line(text)}


def _first_secret_line(text: str) -> list[str]:
    """Return the first line within the frame of a private key; of what has no frame, itself; of certificates, none."""
    if not text.startswith("-----BEGIN"):
        return [text]
    return [text.splitlines()[1]] if "PRIVATE KEY" in text.splitlines()[0] else []


@pytest.fixture(scope="module", params=PROVIDERS)
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Yield a cluster that was made, used, changed and backed up, whose processes were watched meanwhile."""
    name = make_unique_name("secrets")
    versions = pinned_versions(request.param)
    older = versions[versions.index(find_engine(request.param).version) - 1]
    provide(request.param, version=older, report=Silence())  # built once, in the cache
    with start_hosts(f"{name}-h", tmp_path_factory.mktemp("key"), ("13",) * 3) as group, watch_processes() as watch:
        operator = Operator(tmp_path_factory.mktemp("home"), group.key)
        life = Life(request.param, name, group, operator, tmp_path_factory.mktemp("files"), watch)
        life.cms("create", "-p", request.param, f"--engine-version={older}", *group.where[:2]).ok()
        yield life


def _use(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a job that gets the key of a volume and a secret of its own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id-of-the-lake")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    life.cms("storage", "add", "--s3=s3a://lake/in", "lake").ok()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    job: dict[str, Any] = {
        "image": base_image("13", report=Silence()),
        "command": ["sh", "-c", PRINT_DIGESTS],
        "storage": [{"name": "lake", "mount": "/lake"}],
        "secrets": [{"name": "word", "env": ["WORD"]}],
    }
    words = (f"--secrets={life.write('keys.env', f'WORD={WORD}')}", write_job_file(life.folder, **job))
    life.cms("submit", "--dryrun", *words).ok()
    assert life.cms("submit", "--id=quiet", *words).ok().stdout.split() == DIGESTS
    for verb in ("jobs", "logs", "get"):
        life.cms(verb, *(["--output=json"] if verb == "jobs" else []), "quiet")


def test_no_secret_shows_on_a_command_line_or_in_an_output_of_any_operation(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    life.learn_secrets("at first")
    _use(life, monkeypatch)
    passphrase, lake = f"--passphrase-file={life.write('passphrase', PASSPHRASE)}", str(life.folder / "lake.backup")
    third = life.group.where[2]
    life.cms("add", "--dryrun", third).ok()
    life.cms("add", third).ok()
    life.cms("upgrade", "--yes").ok()
    life.cms("rotate").ok()
    life.learn_secrets("after rotate")
    life.cms("backup", passphrase, lake).ok()
    life.cms("remove", "--yes", third).ok()
    life.cms("info", "--output=json").ok()
    shown = {what for what, secret in life.secrets.items() if show(life.watch.arguments, secret)}
    assert shown == set()
    assert life.watch.rounds > 300
    told = {(words, what) for words, text in life.outputs.items() for what, s in life.secrets.items() if s in text}
    assert told == set()
    life.watch.stop()  # what follows searches hosts, by command lines that have what they search for


def test_a_secret_on_a_command_line_would_be_seen(life: Life) -> None:
    with watch_processes() as watch:
        life.server.container.exec_run(["sh", "-c", "sleep 0.5; : word-of-nobody"])
    assert show(watch.arguments, "word-of-nobody")


def test_no_secret_is_in_a_log_or_a_file_that_others_can_read(life: Life) -> None:
    for host in life.group.hosts[:2]:
        assert {what for what, secret in life.secrets.items() if find_exposed(host, secret)} == set()
        assert _find_in_logs(host, life.secrets) == set()
        host.run("logger -- said word-of-nobody && journalctl --sync")
        assert _find_in_logs(host, {"word": "word-of-nobody"}) == {"word"}


def test_a_backup_that_is_encrypted_has_no_secret_and_one_that_is_not_is_warned_of(life: Life) -> None:
    plain = str(life.folder / "plain.backup")
    assert "is not encrypted: whoever reads it owns the cluster" in life.cms("backup", plain).ok().stderr
    sealed = (life.folder / "lake.backup").read_bytes()
    assert {what for what, secret in life.secrets.items() if secret.encode() in sealed} == set()


def test_the_operators_home_has_none_and_neither_have_hosts_that_the_cluster_has_left(life: Life) -> None:
    texts = {path: path.read_bytes() for path in life.operator.home.rglob("*") if path.is_file()}
    assert texts
    assert {
        (path, what) for path, text in texts.items() for what, s in life.secrets.items() if s.encode() in text
    } == set()
    with watch_processes() as watch:
        life.cms("kill", "--yes").ok()
    assert {what for what, secret in life.secrets.items() if show(watch.arguments, secret)} == set()
    for host in life.group.hosts:
        left = {what: _find_in_files(host, secret) for what, secret in life.secrets.items()}
        assert {what: files for what, files in left.items() if files} == {}


def _find_in_logs(host: ContainerHost, secrets: dict[str, str]) -> set[str]:
    """Return which of the secrets are in what the host has logged, whoever may read it."""
    host.run(f"umask 077; {LOGS} >/root/.logs")
    try:
        return {what for what, secret in secrets.items() if _holds(host, "/root/.logs", secret)}
    finally:
        host.run("rm /root/.logs")


def _holds(host: ContainerHost, path: str, secret: str) -> bool:
    return host.succeeds(f'grep -qaF -e "$SECRET" {path}', env={"SECRET": secret})


def _find_in_files(host: ContainerHost, secret: str) -> list[str]:
    """Return the files in which a secret is, wherever a cluster writes."""
    script = (
        'grep -rlsaF -e "$SECRET" /etc /opt /root /home /run /tmp /var --exclude=.search --exclude-dir=journal || true'
    )
    return host.run(script, env={"SECRET": secret}).splitlines()
