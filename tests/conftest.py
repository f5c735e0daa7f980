"""In which order tests run, which stay together where several run at the same time, and the page of the faults."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import fault_table
from xdist.scheduler import LoadScopeScheduling

_CONTRACT = "/contract/"
_ALONE = "/contract/test_growth"  # it makes clusters for itself
# What takes longest together, so that nobody waits for it at the end; of parts that fit, the last one counts. What is
# not listed here is short.
_LONGEST = (
    _CONTRACT,
    _ALONE,
    "test_residue",
    "test_lost_hosts",
    "test_three_servers",
    "test_membership",
    "test_python_page",
    "/packaging/",
    "test_as_openssh",
    "test_login",
    "test_sudo",
    "test_spark_entrypoint",
    "test_probe_program",
    "test_connection",
    "test_discovery",
    "test_openssh",
    "test_fetch_results",
    "test_lock",
    "test_results_script",
)


class ByCluster(LoadScopeScheduling):
    """Keeps together what shares a cluster of a provider: `tests/contract`, and any other file."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        provider = re.search(r"\[(nomad|kubernetes)[-\]]", test)
        shared = "contract" if _CONTRACT in file and _ALONE not in file else file
        return f"{shared} {provider[1] if provider else ''}"


def pytest_xdist_make_scheduler(config: Any, log: Any) -> ByCluster:
    """Return what shares the tests out."""
    return ByCluster(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what is in tests/faults, and as tests on clusters all that `make unit` does not even collect."""
    if "/faults/" in item.nodeid:
        item.add_marker("faults")
    if not item.nodeid.startswith(("tests/unit/", "tests/vm/")):
        item.add_marker("cluster")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest together, and leave the order as it is otherwise."""
    last = len(_LONGEST)
    items.sort(key=lambda item: max((at for at, part in enumerate(_LONGEST) if part in item.nodeid), default=last))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the page be written that says how tests of faults ended."""
    parser.addoption("--faults-page", type=Path, help="the page into which tests of faults write how they ended")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write the page of the faults, where it is asked for."""
    if page := config.getoption("--faults-page"):
        fault_table.write(page, _fault_results(terminalreporter.stats))


def _fault_results(reports: dict[str, list[Any]]) -> Iterator[fault_table.Result]:
    for outcome in ("passed", "skipped", "failed", "error"):
        for report in reports.get(outcome, ()):
            if "/faults/" in report.nodeid:
                yield fault_table.Result(report.nodeid, report.outcome, report.duration)
