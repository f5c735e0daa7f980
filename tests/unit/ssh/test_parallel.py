"""Many hosts at once."""

import os
import signal
import threading
import time

import pytest

from cloudmesh.cluster.core.errors import AuthenticationError, HostError, HostsError, UsageError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh import parallel

HOSTS = [Host(f"h{number}") for number in range(6)]


def test_results_keep_the_order_asked():
    def slow_first(number):
        time.sleep(0.05 if number == 0 else 0)
        return number * 2

    outcomes = parallel.run_on_hosts(slow_first, {host: number for number, host in enumerate(HOSTS)})
    assert list(outcomes.or_raise().items()) == [(host, number * 2) for number, host in enumerate(HOSTS)]


def test_one_bad_host_spoils_no_other():
    def some_fail(name):
        if name == "h1":
            raise AuthenticationError(name, "no key")
        if name == "h2":
            raise ZeroDivisionError("x")

    outcomes = parallel.run_on_hosts(some_fail, {host: host.name for host in HOSTS})
    assert len(outcomes.values) == 4
    assert isinstance(outcomes.failures["h1"], AuthenticationError)
    assert str(outcomes.failures["h2"]) == "h2: unexpected ZeroDivisionError: x"
    with pytest.raises(HostsError) as caught:
        outcomes.or_raise()
    assert caught.value.failures == outcomes.failures


def test_a_single_failure_is_raised_as_it_is():
    def fail(name):
        raise UsageError("bad name")

    with pytest.raises(UsageError, match="bad name"):
        parallel.run_on_hosts(fail, {HOSTS[0]: ""}).or_raise()


def test_hosts_that_differ_by_port_are_told_apart():
    def fail(port):
        raise HostError(f"h:{port}", "no")

    hosts = {Host("h", port=port): port for port in (1, 2)}
    assert list(parallel.run_on_hosts(fail, hosts).failures) == ["h:1", "h:2"]


def test_no_host_is_no_work():
    assert parallel.run_on_hosts(str, {}).or_raise() == {}


def test_hosts_are_served_in_parallel_within_the_limit():
    running, most, lock = 0, 0, threading.Lock()

    def count(_):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1

    parallel.run_on_hosts(count, dict.fromkeys(HOSTS), limit=3).or_raise()
    assert most == 3


def test_an_interrupt_returns_at_once_and_begins_nothing_new():
    begun = []

    def hang(name):
        begun.append(name)
        time.sleep(2)

    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        parallel.run_on_hosts(hang, {host: host.name for host in HOSTS}, limit=2)
    assert time.monotonic() - start < 1
    assert begun == ["h0", "h1"]


def test_hosts_that_take_long_are_left_out_and_their_late_values_discarded():
    seconds = dict(zip(HOSTS, (0.0, 0.2, 2.0, 0.6, 2.2, 0.0), strict=True))
    discarded, all_discarded = [], threading.Event()

    def answer(duration):
        time.sleep(duration)
        if duration == 2.2:
            raise HostError("h4", "late")
        return duration

    def discard(duration):
        discarded.append(duration)
        all_discarded.set()

    start = time.monotonic()
    outcomes = parallel.run_on_hosts(
        answer, seconds, patience=0.5, waited_for=[HOSTS[3], Host("another")], discard=discard
    )
    assert time.monotonic() - start < 1.9
    assert outcomes.values == {host: seconds[host] for host in HOSTS if seconds[host] < 2}
    assert list(outcomes.silent) == [HOSTS[2], HOSTS[4]]
    assert outcomes.failures == {}
    assert all_discarded.wait(10)
    assert discarded == [2.0]
