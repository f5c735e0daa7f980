"""Results of jobs, brought over SSH by a real sshd: what arrives is what was there, or it is said what is not."""

import hashlib
import io
import os
import tarfile
import threading
import tracemalloc
from pathlib import Path

import pytest
from support.sshd import MARKS, Sshd, home, server

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import HostError, HostsError, UnreachableError
from cloudmesh.cluster.core.model import Marker, Node, Role
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.jobs import results
from cloudmesh.cluster.providers.base import ResultLocation
from cloudmesh.cluster.ssh.connect import connect

__all__ = ["home", "server"]
pytestmark = MARKS

ADDRESS = "10.0.0.5"
NODE = Node("n1", ADDRESS, (Role.WORKER,), "ready")


@pytest.fixture
def bring(server):
    """Bring what tasks have left, given as folders by task, into a folder."""
    context = Context(server.settings(), Silence(), "tester")
    with connect(server.host(), server.settings()) as connection:
        marker = Marker("c", "1", "nomad", Role.WORKER, ADDRESS, (ADDRESS,))
        discovered = DiscoveredCluster("c", {connection.host: marker}, {connection.host: connection})

        def run(target: Path, *, also: tuple[ResultLocation, ...] = (), **tasks: Path) -> results.CopySummary:
            locations = [ResultLocation(task, NODE, str(path)) for task, path in tasks.items()]
            return results.fetch(context, discovered, [*locations, *also], target)

        yield run


@pytest.fixture
def left(tmp_path):
    """What a task has left: files of every name, and things that are no files."""
    folder = tmp_path / "left"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "part-0").write_bytes(os.urandom(300_000))
    (folder / "sub" / "a b\n'é\"").write_text("odd")
    (folder / "sub" / "none").touch()
    (folder / "-n").write_text("dash")
    (folder / "out").symlink_to("/etc/passwd")
    os.link(folder / "part-0", folder / "twice")
    os.mkfifo(folder / "pipe")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_regular_files_arrive_as_they_are_and_nothing_else_does(bring, left, tmp_path):
    brought = bring(tmp_path / "here", driver=left)
    there = {name: content for name, content in files(left).items() if name != "out"}
    assert files(tmp_path / "here" / "driver") == there
    assert (tmp_path / "here" / "driver" / "sub" / "empty").is_dir()
    assert brought == results.CopySummary(len(there), sum(map(len, there.values())))
    assert not [path for path in (tmp_path / "here").rglob("*") if path.is_symlink() or path.is_fifo()]


def test_each_task_has_a_folder_and_run_again_brings_what_is_missing(bring, left, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "part-0").write_text("another")
    first = bring(tmp_path / "here", driver=left, **{"worker-1": other})
    (tmp_path / "here" / "driver" / "part-0").unlink()
    assert bring(tmp_path / "here", driver=left, **{"worker-1": other}) == first
    assert (tmp_path / "here" / "driver" / "part-0").read_bytes() == (left / "part-0").read_bytes()
    assert (tmp_path / "here" / "worker-1" / "part-0").read_text() == "another"


def test_a_file_that_is_here_with_another_content_is_left_alone_and_named(bring, left, tmp_path):
    mine = tmp_path / "here" / "driver" / "sub" / "none"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(HostsError, match=f"{mine} is there already"):
        bring(tmp_path / "here", driver=left)
    assert files(tmp_path / "here") == {"driver/sub/none": b"mine"}


def test_nothing_is_written_through_a_link(bring, left, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here" / "driver").mkdir(parents=True)
    (tmp_path / "here" / "driver" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostsError, match="is a link"):
        bring(tmp_path / "here", driver=left)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_task_that_left_nothing_brings_nothing(bring, tmp_path):
    (tmp_path / "empty").mkdir()
    assert bring(tmp_path / "here", driver=tmp_path / "empty", gone=tmp_path / "missing") == results.CopySummary()
    assert not (tmp_path / "here").exists()


def test_what_the_engine_has_forgotten_is_found_on_the_hosts_each_task_in_its_last_attempt(bring, tmp_path):
    left = {"head/b": "first", "head/a": "last", "worker-0/x": "kept", "-/-": "of nobody"}
    for at, (attempt, text) in enumerate(left.items()):
        folder = tmp_path / "every" / attempt
        folder.mkdir(parents=True)
        (folder / "file").write_text(text)
        os.utime(folder, (1e9 + at, 1e9 + at))
    forgotten = ResultLocation("", NODE, str(tmp_path / "every"))
    bring(tmp_path / "here", head=tmp_path / "every" / "head" / "b", also=(forgotten,))
    assert files(tmp_path / "here") == {"head/file": b"last", "worker-0/file": b"kept"}


def test_a_job_of_which_nothing_is_on_a_host_brings_nothing_from_there(bring, tmp_path):
    assert bring(tmp_path / "here", also=(ResultLocation("", NODE, str(tmp_path / "none")),)) == results.CopySummary()


@pytest.mark.parametrize("task", ["worker-1", ""])
def test_a_host_that_cannot_be_reached_is_named_and_the_others_are_brought(bring, left, tmp_path, task):
    dead = Node("n2", "10.0.0.6", (Role.WORKER,), "down", contact="root@127.0.0.1:1", host_key="")
    with pytest.raises(HostsError) as raised:
        bring(tmp_path / "here", driver=left, also=(ResultLocation(task, dead, "/x"),))
    assert [type(failure) for failure in raised.value.failures.values()] == [UnreachableError]
    assert (tmp_path / "here" / "driver" / "part-0").exists()


def test_a_full_disk_here_is_said_and_leaves_no_file_under_its_name(bring, left, tmp_path, monkeypatch):
    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(HostsError, match="cannot be written: No space left"):
        bring(tmp_path / "here", driver=left)
    assert not files(tmp_path / "here")


def archive(*members: tuple[str, bytes], checksums: dict[str, bytes] | None = None) -> io.BytesIO:
    """Return what a host would send; `checksums` are of these contents instead of the members'."""
    listed = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\0" for name, content in (checksums or dict(members)).items()
    )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in (("cms-checksums", listed.encode()), *members):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "./a/../../out"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="leads out"):
        results.receive(archive((name, b"x")), tmp_path / "task")
    with pytest.raises(ValueError, match="leads out"):
        results.receive(archive((name, b"x"), checksums={"./a": b"x"}), tmp_path / "task")
    assert not files(tmp_path)


def test_a_file_that_was_changed_on_its_way_does_not_get_its_name(tmp_path):
    with pytest.raises(ValueError, match="another checksum"):
        results.receive(archive(("./a", b"changed"), checksums={"./a": b"right"}), tmp_path)
    assert not files(tmp_path)


def test_a_file_that_did_not_arrive_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"\./b did not arrive"):
        results.receive(archive(("./a", b"a"), checksums={"./a": b"a", "./b": b"b"}), tmp_path)


def test_a_stream_that_is_cut_leaves_nothing_under_the_last_name(tmp_path):
    whole = archive(("./a", b"a" * 9000), ("./b", b"b" * 90_000)).getvalue()
    with pytest.raises(tarfile.TarError):
        results.receive(io.BytesIO(whole[:60_000]), tmp_path)
    assert list(files(tmp_path)) == ["a"]


def test_a_host_that_is_cut_off_in_the_middle_is_told_as_such(tmp_path):
    def cut() -> None:
        with connection.stream("echo begun; sleep 60; echo end", silence=20) as stream:
            assert stream.read(6) == b"begun\n"
            threading.Timer(0.2, sshd.kill_sessions).start()
            assert stream.read(1) == b""

    with (
        Sshd(tmp_path / "own") as sshd,
        connect(sshd.host(), sshd.settings()) as connection,
        pytest.raises(UnreachableError),
    ):
        cut()


def test_a_script_that_fails_at_its_end_fails_the_stream(server):
    def read() -> None:
        with connection.stream("echo x; echo no such disk >&2; false") as stream:
            assert stream.readall() == b"x\n"

    with connect(server.host(), server.settings()) as connection, pytest.raises(HostError, match="no such disk"):
        read()


def test_a_big_file_takes_no_memory(bring, tmp_path):
    big = tmp_path / "big"
    big.mkdir()
    with (big / "file").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
    tracemalloc.start()
    try:
        assert bring(tmp_path / "here", driver=big) == results.CopySummary(1, 64 << 20)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()
