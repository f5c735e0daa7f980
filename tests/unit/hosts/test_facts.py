"""facts.sh runs on this machine, unchanged; its answer is compared with what Python sees."""

import ipaddress
import os
import shutil
import socket
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import pytest

from cloudmesh.cluster.core.model import EngineState, Facts
from cloudmesh.cluster.hosts import facts

SCRIPT = Path(__file__).parents[3] / "cloudmesh/images/host/facts.sh"
BARE = (
    "awk",
    "cat",
    "cut",
    "date",
    "df",
    "dirname",
    "head",
    "id",
    "nproc",
    "paste",
    "readlink",
    "sed",
    "sh",
    "sha256sum",
    "sort",
    "timeout",
    "tr",
    "uname",
)


def _run(cwd: Path, script: str = "", path: str = os.environ["PATH"], **files: str) -> str:
    for name, content in files.items():
        (cwd / name).write_text(content)
    command = ["sh", "-c", script or SCRIPT.read_text()]
    return subprocess.run(
        command, cwd=cwd, env={"PATH": path}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    ).stdout


def _split(output: str) -> dict[str, list[str]]:
    values = defaultdict(list)
    for line in output.splitlines():
        sign, key, value = line.split(" ", 2)
        assert sign == "::fact", output
        values[key].append(value)
    return values


def _parse(output: str, asked_at: float = 0.0) -> Facts:
    return facts.parse({key: "\n".join(values) for key, values in _split(output).items()}, asked_at=asked_at)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the script says where nothing is asked for; networks of containers may come and go after that."""
    return _run(tmp_path_factory.mktemp("told"))


@pytest.fixture(name="without_iproute")
def _without_iproute(tmp_path: Path) -> str:
    """A PATH that has what the script may rely on, and no more."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in BARE:
        where = shutil.which(tool)
        assert where, tool
        (folder / tool).symlink_to(where)
    return str(folder)


def _bare_script() -> str:
    script, path = SCRIPT.read_text(), "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin\n"
    assert path in script
    return script.replace(path, "")


def test_the_facts_are_true(tmp_path: Path) -> None:
    answer = _parse(_run(tmp_path))
    assert answer.hostname == socket.gethostname()
    assert answer.cores == len(os.sched_getaffinity(0))
    assert answer.memory_mb == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    assert answer.root == (os.geteuid() == 0)
    assert answer.systemd == (Path("/run/systemd/system").is_dir() and Path("/proc/1/comm").read_text() == "systemd\n")
    assert answer.apt == bool(shutil.which("apt-get"))
    assert answer.cgroup == (2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1)
    (effective,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    assert answer.raises_limits == bool(int(effective.split()[1], 16) >> 24 & 1)
    assert abs(answer.disk_free_mb - shutil.disk_usage("/var/lib").free // 2**20) < 2000
    assert answer.os.count("-") >= 1
    assert len(answer.machine_id) == 32


def test_the_clock_is_this_machines(tmp_path: Path) -> None:
    assert abs(_parse(_run(tmp_path), asked_at=time.time()).skew) < 5


def test_the_address_is_one_of_the_machine_and_not_loopback(told: str) -> None:
    answer = _parse(told)
    assert answer.address in [line.split()[1].split("/")[0] for line in answer.addresses]
    with socket.socket() as listener:
        listener.bind((answer.address, 0))
    assert not answer.address.startswith("127.")


def test_the_same_machine_has_the_same_id_twice(tmp_path: Path, told: str) -> None:
    assert _parse(_run(tmp_path)).machine_id == _parse(told).machine_id


@pytest.mark.parametrize(
    "source", ["/etc/machine-id", "/sys/class/dmi/id/product_uuid", "/proc/sys/kernel/random/boot_id"]
)
def test_clones_that_differ_in_one_thing_have_different_ids(tmp_path: Path, told: str, source: str) -> None:
    (tmp_path / "other").write_text("another\n")
    script = SCRIPT.read_text()
    assert source in script
    clone = _parse(_run(tmp_path, script=script.replace(f"line {source}", f"line '{tmp_path}/other'")))
    assert clone.machine_id != _parse(told).machine_id


def test_addresses_are_the_same_where_iproute2_is_missing(tmp_path: Path, without_iproute: str) -> None:
    bare = _parse(_run(tmp_path, script=_bare_script(), path=without_iproute))
    full = _parse(_run(tmp_path))
    assert sorted(bare.addresses) == sorted(full.addresses)
    assert bare.address == full.address
    assert (bare.apt, bare.docker, bare.systemd) == (False, "", False)


def test_ports_that_something_listens_on_are_told_and_no_others(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as four, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        ports = [four.getsockname()[1], bound.getsockname()[1]]
        answer = _parse(_run(tmp_path, ports="".join(f"{port}\n" for port in ports)))
    assert answer.busy_ports == (ports[0],)


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="there is no IPv6 here")
def test_a_port_taken_on_ipv6_only_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as six:
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.bind(("::", 0))
        six.listen()
        port = six.getsockname()[1]
        assert _parse(_run(tmp_path, ports=f"{port}\n")).busy_ports == (port,)


def test_the_interface_is_chosen_by_its_name_or_its_network(tmp_path: Path, told: str) -> None:
    for line in _parse(told).addresses[:2]:  # those of Docker's networks are the last ones
        device, cidr = line.split()
        for interface in (device, cidr, cidr.split("/")[0]):
            chosen = _parse(_run(tmp_path, interface=f"{interface}\n"))
            assert f"{device} {chosen.address}/" in "\n".join(chosen.addresses)


@pytest.mark.parametrize("interface", ["nosuch0", "203.0.113.0/24", "203.0.113.7", "$(id)", "a'b"])
def test_an_interface_that_does_not_exist_is_refused_with_those_that_do(
    tmp_path: Path, told: str, interface: str
) -> None:
    last = _run(tmp_path, interface=f"{interface}\n").splitlines()[-1]
    assert last.startswith(f"::fail no IPv4 address matches --interface '{interface}'; there are: ")
    assert _parse(told).address in last


def test_the_marker_is_told_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "marker.json").write_text('{\n  "cluster": "demo"\r\n}\n')
    script = SCRIPT.read_text()
    assert "/etc/cloudmesh/cluster/" in script
    answer = _parse(_run(tmp_path, script=script.replace("/etc/cloudmesh/cluster/", f"{tmp_path}/")))
    assert answer.marker.startswith("{")
    assert '"cluster": "demo"' in answer.marker
    assert answer.marker.endswith("}")


def test_a_marker_that_is_empty_is_not_a_host_of_no_cluster(tmp_path: Path) -> None:
    script = SCRIPT.read_text().replace("/etc/cloudmesh/cluster/", f"{tmp_path}/")
    assert _parse(_run(tmp_path, script=script)).marker == ""
    (tmp_path / "marker.json").touch()
    assert _parse(_run(tmp_path, script=script)).marker == "empty"


def test_an_engine_that_was_started_once_is_told(tmp_path: Path) -> None:
    script = SCRIPT.read_text().replace("/var/lib/cloudmesh/host/", f"{tmp_path}/")
    assert _parse(_run(tmp_path, script=script)).engine is EngineState.NONE
    (tmp_path / "started").touch()
    assert _parse(_run(tmp_path, script=script)).engine is EngineState.DAMAGED


def test_what_is_left_of_an_engine_is_told(tmp_path: Path) -> None:
    script = SCRIPT.read_text()
    for place in (
        "/var/lib/cloudmesh/host",
        "/var/lib/cloudmesh/kubernetes",
        "/etc/cloudmesh/cluster",
        "/etc/kubernetes",
    ):
        script = script.replace(place, f"{tmp_path}{place}")
        (tmp_path / place[1:]).mkdir(parents=True)
    config, kubelet = tmp_path / "etc/cloudmesh/cluster", tmp_path / "etc/kubernetes/kubelet.conf"
    for file in ("ca.pem", "host.pem", "host-key.pem", "secrets.json"):
        (config / file).touch()
    (config / "marker.json").write_text('{"role": "server"}')
    (tmp_path / "var/lib/cloudmesh/host/started").touch()
    kubelet.touch()

    def read_state() -> EngineState:
        return _parse(_run(tmp_path, script=script)).engine

    assert read_state() is EngineState.STARTED
    (config / "secrets.json").unlink()
    assert read_state() is EngineState.DAMAGED
    (config / "marker.json").write_text('{"role": "worker"}')
    assert read_state() is EngineState.STARTED
    (config / "host.pem").unlink()
    assert read_state() is EngineState.DAMAGED
    kubelet.unlink()
    assert read_state() is EngineState.WIPED


def test_a_host_whose_configuration_was_deleted_still_says_of_which_cluster_it_is(tmp_path: Path) -> None:
    script = SCRIPT.read_text().replace("/var/lib/cloudmesh/host/", f"{tmp_path}/")
    (tmp_path / "marker.json").write_text('{"cluster": "demo"}')
    assert _parse(_run(tmp_path, script=script)).marker == '{"cluster": "demo"}'


def test_routes_are_the_same_where_iproute2_is_missing(tmp_path: Path, without_iproute: str) -> None:
    def networks(*run: str) -> list[tuple[ipaddress.IPv4Network, str]]:
        routes = _parse(_run(tmp_path, *run)).routes
        return sorted((ipaddress.IPv4Network(route.split(" ")[0]), route.split(" ")[1]) for route in routes)

    bare, full = networks(_bare_script(), without_iproute), networks()
    assert bare == full
    assert full
    assert all(network.prefixlen for network, _ in full)


def test_packages_on_hold_that_are_not_there_are_told(tmp_path: Path, without_iproute: str) -> None:
    tool = Path(without_iproute, "dpkg-query")
    lines = (
        "hold installed vim",
        "hold not-installed docker.io",
        "install installed curl",
        "hold config-files nftables",
    )
    # As the real one, it tells of packages that are not there only where a pattern asks for them.
    shown = "".join(f"echo {line}\n" for line in lines)
    tool.write_text(f"#!/bin/sh\ncase $* in *'*') ;; *) exit 0 ;; esac\n{shown}")
    tool.chmod(0o755)
    assert _parse(_run(tmp_path, script=_bare_script(), path=without_iproute)).held == ("docker.io", "nftables")


def test_the_disk_is_that_of_the_deepest_folder_that_exists(tmp_path: Path) -> None:
    deep = _parse(_run(tmp_path, data_dir=f"{tmp_path}/not/yet there\n"))
    assert abs(deep.disk_free_mb - shutil.disk_usage(tmp_path).free // 2**20) < 2000
    proc = _parse(_run(tmp_path, data_dir="/proc/nothing\n"))
    assert (proc.disk_free_mb, proc.disk) == (0, "/proc")
    least = _parse(_run(tmp_path, data_dir=f"{tmp_path}\n/proc/nothing\n/var\n"))
    assert (least.disk_free_mb, least.disk) == (0, "/proc")


def test_a_relative_data_directory_is_refused(tmp_path: Path) -> None:
    assert "::fail the data directory 'data' is not an absolute path" in _run(tmp_path, data_dir="data\n")


def test_nothing_is_changed_in_the_current_directory(tmp_path: Path) -> None:
    _run(tmp_path, ports="1\n")
    assert [path.name for path in tmp_path.iterdir()] == ["ports"]


@pytest.mark.parametrize("broken", [{"cores": "many"}, {"clock": None}])
def test_an_answer_that_makes_no_sense_is_not_believed(told: str, broken: dict[str, str | None]) -> None:
    sound = {key: "\n".join(values) for key, values in _split(told).items()}
    answer = {key: value for key, value in (sound | broken).items() if value is not None}
    with pytest.raises((KeyError, ValueError)):
        facts.parse(answer, asked_at=0.0)


@pytest.mark.parametrize(("tool", "answer"), [("dpkg", "armhf"), ("uname", "riscv64")])
def test_the_processor_is_the_one_that_programs_on_the_host_are_for(
    tmp_path: Path, without_iproute: str, tool: str, answer: str
) -> None:
    program = Path(without_iproute, tool)
    program.unlink(missing_ok=True)
    program.write_text(f"#!/bin/sh\necho {answer}\n")
    program.chmod(0o755)
    assert _split(_run(tmp_path, _bare_script(), without_iproute))["arch"] == [answer]
