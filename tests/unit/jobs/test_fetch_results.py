"""Results of jobs, brought over SSH by a real sshd: what arrives is what was there, or it is said what is not."""

import functools
import hashlib
import io
import os
import socket
import stat
import subprocess
import tarfile
import threading
import tracemalloc
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.sshd import MARKS, Sshd, home, server

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import HostError, HostsError, UnreachableError
from cloudmesh.cluster.core.model import Marker, Node, Role
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.hosts.discovery import DiscoveredCluster
from cloudmesh.cluster.jobs import result_copy, result_files, result_stream, results
from cloudmesh.cluster.jobs.result_copy import CopySummary
from cloudmesh.cluster.jobs.result_tree import Entry
from cloudmesh.cluster.providers.base import ResultLocation
from cloudmesh.cluster.ssh.connect import connect

__all__ = ["home", "server"]
pytestmark = MARKS

ADDRESS = "10.0.0.5"
NODE = Node("n1", ADDRESS, (Role.WORKER,), "ready")


@pytest.fixture(scope="module")
def open_once(server):
    """What returns a connection to the server, always the same."""
    with ExitStack() as stack:
        # in the first test that asks, whose home directory is not that of who runs the tests
        yield functools.cache(lambda: stack.enter_context(connect(server.host(), server.settings())))


@pytest.fixture
def bring(server, open_once):
    """Bring what tasks have left, given as folders by task, into a folder."""
    context = Context(server.settings(), Silence(), "tester")
    connection = open_once()
    marker = Marker("c", "1", "nomad", Role.WORKER, ADDRESS, (ADDRESS,))
    discovered = DiscoveredCluster("c", {connection.host: marker}, {connection.host: connection})

    def run(target: Path, *, also: tuple[ResultLocation, ...] = (), **tasks: Path) -> CopySummary:
        locations = [ResultLocation(task, NODE, str(path)) for task, path in tasks.items()]
        return results.fetch(context, discovered, [*locations, *also], target)

    return run


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


def test_all_files_arrive_as_they_are_and_what_cannot_is_named(bring, left, tmp_path):
    brought = bring(tmp_path / "here", driver=left)
    there = {name: content for name, content in files(left).items() if name != "out"}
    assert files(tmp_path / "here" / "driver") == there
    assert (tmp_path / "here" / "driver" / "sub" / "empty").is_dir()
    assert brought == CopySummary(
        len(there),
        sum(map(len, there.values())),
        ("driver/out: it is a link to /etc/passwd, which leads out of the results", "driver/pipe: it is a pipe"),
    )
    assert not [path for path in (tmp_path / "here").rglob("*") if path.is_symlink() or path.is_fifo()]


def test_pipes_sockets_and_devices_are_refused_by_name(bring, tmp_path):
    left = tmp_path / "l"
    left.mkdir()
    os.mkfifo(left / "p")
    (left / "file").write_text("x")
    os.mknod(left / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(left / "s"))
        brought = bring(tmp_path / "here", driver=left)
    assert brought.refused == (
        "driver/null: it is a character device",
        "driver/p: it is a pipe",
        "driver/s: it is a socket",
    )
    assert files(tmp_path / "here") == {"driver/file": b"x"}


def test_links_that_stay_within_the_results_are_kept_and_others_refused_by_name(bring, tmp_path):
    left = tmp_path / "left"
    (left / "a" / "b").mkdir(parents=True)
    (left / "a" / "file").write_text("x")
    within = {"a/b/up": "..", "a/b/file": "up/file", "dangling": "a/none", "round": "round", "dot": "./a//b/../file"}
    refused = {"a/b/out": "up/../../x", "etc": "/etc", "parent": "..", "through": "a/b/up/../../y", "on": "through"}
    for name, target in {**within, **refused}.items():
        (left / name).symlink_to(target)
    for _ in range(2):
        brought = bring(tmp_path / "here", driver=left)
        here = tmp_path / "here" / "driver"
        assert {line.split(":")[0] for line in brought.refused} == {f"driver/{name}" for name in refused}
        links = {str(path.relative_to(here)): os.readlink(path) for path in here.rglob("*") if path.is_symlink()}  # noqa: PTH115
        assert links == within
        assert brought.files == 1 + len(within)
    assert (here / "a" / "b" / "file").read_text() == "x"


def test_a_results_directory_that_is_a_link_is_refused(bring, left, tmp_path):
    (tmp_path / "link").symlink_to(left)
    with pytest.raises(HostsError, match="link is a link, and no directory of results"):
        bring(tmp_path / "here", driver=tmp_path / "link")
    assert not (tmp_path / "here").exists()


def test_hard_links_are_one_file_here_too(bring, left, tmp_path):
    for _ in range(2):
        bring(tmp_path / "here", driver=left)
        here = tmp_path / "here" / "driver"
        assert (here / "twice").samefile(here / "part-0")
        (here / "twice").unlink()


def test_permissions_and_times_are_kept_and_what_would_elevate_is_not(bring, tmp_path):
    left = tmp_path / "left"
    modes = {"tool": 0o755, "secret": 0o600, "fixed": 0o444, "suid": 0o4755}
    (left / "closed").mkdir(parents=True)
    (left / "closed" / "file").write_text("x")
    for name, mode in modes.items():
        (left / name).write_text(name)
        (left / name).chmod(mode)
        os.utime(left / name, ns=(10**18, 10**18 + 1))
    (left / "closed").chmod(0o750)
    for _ in range(2):
        brought = bring(tmp_path / "here", driver=left)
    here = tmp_path / "here" / "driver"
    assert {name: stat.S_IMODE((here / name).stat().st_mode) for name in modes} == {**modes, "suid": 0o755}
    assert stat.S_IMODE((here / "closed").stat().st_mode) == 0o750
    assert (here / "tool").stat().st_mtime_ns == 10**18 + 1
    assert brought.refused == ("driver/suid: its setuid bit; the file itself is there",)


def test_names_that_are_not_utf_8_arrive(bring, tmp_path):
    left = tmp_path / "left"
    names = [b"caf\xe9", b"\xff\xfe", b"-C", b"a\\n", b"ends\n", b"*", b" ", b"x" * 255]
    (left / os.fsdecode(b"d\xe9")).mkdir(parents=True)
    for name in names:
        (left / os.fsdecode(name)).write_bytes(name)
        (left / os.fsdecode(b"d\xe9") / os.fsdecode(name)).write_bytes(name)
    (left / os.fsdecode(b"link\xe9")).symlink_to(os.fsdecode(b"caf\xe9"))
    for _ in range(2):
        assert bring(tmp_path / "here", driver=left) == CopySummary(17, 2 * sum(map(len, names)))
    assert files(tmp_path / "here" / "driver") == files(left)
    assert (tmp_path / "here" / "driver" / os.fsdecode(b"link\xe9")).readlink() == Path(os.fsdecode(b"caf\xe9"))


def test_holes_take_no_room_here_and_are_not_sent(bring, tmp_path):
    left = tmp_path / "left"
    left.mkdir()
    with (left / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(30 << 20)
        file.write(b"middle")
        file.truncate(40 << 20)
    names = ("sparse", "all-hole", os.fsdecode(b"odd\xe9"), "long" * 50)
    for name in names[1:]:
        (left / name).touch()
        os.truncate(left / name, 1 << 20)
    for _ in range(2):
        bring(tmp_path / "here", driver=left)
    for name in names:
        here = tmp_path / "here" / "driver" / name
        assert subprocess.run(["cmp", here, left / name], check=False).returncode == 0
        assert here.stat().st_blocks * 512 < 2 << 20


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
    assert bring(tmp_path / "here", driver=tmp_path / "empty", gone=tmp_path / "missing") == CopySummary()
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
    assert bring(tmp_path / "here", also=(ResultLocation("", NODE, str(tmp_path / "none")),)) == CopySummary()


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
    for part in (members, [("cms-checksums", listed.encode())]):
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, content in part:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        buffer.write(bytes(512))  # a sign of life
    buffer.seek(0)
    return buffer


def receive(stream: io.BytesIO, folder: Path, *names: str) -> tuple[list[str], list[str]]:
    """Return what is said of the files called `names`, and those that did not arrive."""
    waiting = {name: Entry(name, "f", 0o644) for name in names}
    said = result_stream.receive(stream, folder, waiting, lambda _: None)
    return said, list(waiting)


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "./a/../../out", "./b"])
def test_what_was_not_asked_for_is_not_written(tmp_path, name):
    assert receive(archive((name, b"x")), tmp_path / "task", "a") == ([], ["a"])
    assert not files(tmp_path)


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/../../out"])
def test_a_name_that_leads_out_is_refused(bring, left, tmp_path, monkeypatch, name):
    script = f"printf '%s\\0' f 644 1 1 1.5 1:1 1 {name} ''"
    monkeypatch.setattr(result_copy.host_script, "load", lambda _: script)
    with pytest.raises(HostsError, match="leads out of the folder"):
        bring(tmp_path / "here", driver=left)
    assert not (tmp_path / "here").exists()


def test_a_file_that_was_changed_on_its_way_does_not_get_its_name(tmp_path):
    said, _ = receive(
        archive(("./a", b"changed"), ("./b", b"b"), checksums={"./a": b"right", "./b": b"b"}), tmp_path, "a", "b"
    )
    assert said == ["'a' has another checksum than on its host: was it being written to?"]
    assert files(tmp_path) == {"b": b"b"}


def test_a_file_that_did_not_arrive_is_told(tmp_path):
    assert receive(archive(("./a", b"a")), tmp_path, "a", "b") == ([], ["b"])


def test_a_stream_that_is_cut_leaves_nothing_under_the_last_name(tmp_path):
    whole = archive(("./a", b"a" * 9000)).getvalue() + archive(("./b", b"b" * 90_000)).getvalue()
    with pytest.raises(tarfile.TarError):
        receive(io.BytesIO(whole[:90_000]), tmp_path, "a", "b")
    assert list(files(tmp_path)) == ["a"]


def test_a_file_that_goes_while_it_is_copied_is_told_and_the_others_arrive(bring, left, tmp_path, monkeypatch):
    original = result_copy.TaskCopy._find_missing

    def gone(self, tree):
        (left / "sub" / "none").unlink()
        return original(self, tree)

    monkeypatch.setattr(result_copy.TaskCopy, "_find_missing", gone)
    with pytest.raises(HostsError, match=r"sub/none' did not arrive: was it removed meanwhile\?; get them again"):
        bring(tmp_path / "here", driver=left)
    assert (tmp_path / "here" / "driver" / "part-0").read_bytes() == (left / "part-0").read_bytes()


@pytest.fixture
def small_segments(monkeypatch):
    """Files of more than a MiB count as large."""
    monkeypatch.setattr(result_files, "SEGMENT", 1 << 20)
    monkeypatch.setattr(result_copy, "SEGMENT", 1 << 20)


@pytest.fixture
def large(tmp_path, small_segments):
    """A folder with a file of several segments, whose name is not easy."""
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "big 'file'\n").write_bytes(os.urandom((5 << 20) + 77))
    (folder / "whole").write_bytes(os.urandom(3 << 20))
    return folder


def test_a_large_file_arrives_whole(bring, large, tmp_path):
    for _ in range(2):
        assert bring(tmp_path / "here", driver=large) == CopySummary(2, (8 << 20) + 77)
        assert files(tmp_path / "here" / "driver") == files(large)


def test_a_large_file_that_was_cut_off_goes_on_where_it_was(large, tmp_path, monkeypatch):
    """Its segments that are here are not sent again; nothing has its name before all of it is here."""
    read: list[int] = []
    original = result_copy.receive_segment

    def cutting(stream, file, size, part, advance):
        if len(read) == 3:
            sshd.kill_sessions()
        read.append(size)
        return original(stream, file, size, part, advance)

    monkeypatch.setattr(result_copy, "receive_segment", cutting)
    here, name = tmp_path / "here", "big 'file'\n"
    (large / name).write_bytes(os.urandom((24 << 20) + 77))  # more than is on its way at a time

    def copy() -> CopySummary:
        with connect(sshd.host(), sshd.settings()) as connection:
            return result_copy.TaskCopy(connection, "driver", str(large), here, Silence()).run()

    with Sshd(tmp_path / "own") as sshd:
        with pytest.raises(UnreachableError, match="what has arrived stays: get the results again"):
            copy()
        assert not (here / name).exists()
        begun = result_files.part_of(here / name)
        assert 3 << 20 <= begun.stat().st_size < 24 << 20
        damaged = bytearray(begun.read_bytes())
        damaged[(1 << 20) + 5] ^= 1  # in its second segment: from there on it is fetched anew
        begun.write_bytes(damaged)
        read[:] = [0] * 10
        copy()
    assert len(read) - 10 == 24 + 3
    assert files(here) == files(large)


def test_a_large_file_that_shrinks_meanwhile_is_told(bring, large, tmp_path, monkeypatch):
    original = result_copy.TaskCopy._find_missing

    def shrunk(self, tree):
        os.truncate(large / "whole", 1 << 20)
        return original(self, tree)

    monkeypatch.setattr(result_copy.TaskCopy, "_find_missing", shrunk)
    with pytest.raises(HostsError, match="'whole' has another checksum than on its host"):
        bring(tmp_path / "here", driver=large)
    assert not (tmp_path / "here" / "driver" / "whole").exists()


def test_a_large_file_that_is_here_with_another_content_is_left_alone(bring, large, tmp_path):
    here = tmp_path / "here" / "driver"
    here.mkdir(parents=True)
    (here / "whole").write_bytes(bytes(3 << 20))
    with pytest.raises(HostsError, match="whole is there already and is something else"):
        bring(tmp_path / "here", driver=large)
    assert files(here) == {"whole": bytes(3 << 20)}


def test_progress_is_told_while_bytes_arrive(server, large, tmp_path, monkeypatch):
    monkeypatch.setattr(result_copy, "_REPORT_SECONDS", 0.0)
    steps: list[str] = []

    class Steps(Silence):
        def step(self, where, what):
            steps.append(what)

    with connect(server.host(), server.settings()) as connection:
        for _ in range(2):
            result_copy.TaskCopy(connection, "driver", str(large), tmp_path / "here", Steps()).run()
    assert "results of driver, 8 of 8 MB" in steps
    assert "results of driver, compared with what is here, 8 of 8 MB" in steps


def test_two_at_once_do_not_mix(large, server, tmp_path):
    here = tmp_path / "here" / "driver"
    with (
        connect(server.host(), server.settings()) as connection,
        result_files.open_part(result_files.part_of(here / "whole"), 0),
        pytest.raises(HostError, match="another `get`"),
    ):
        result_copy.TaskCopy(connection, "driver", str(large), here, Silence()).run()


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
        for _ in range(20):
            file.write(os.urandom(1 << 20))
    tracemalloc.start()
    try:
        assert bring(tmp_path / "here", driver=big) == CopySummary(1, 20 << 20)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()
