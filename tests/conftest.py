"""How tests are shared out where several run beside each other."""

import re
from pathlib import PurePath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_CONTRACT = "/contract/"
# These make clusters of their own. They come before the cluster that the others of the contract share.
_ALONE = "test_growth"


class ByCluster(LoadScopeScheduling):
    """Keeps together what shares a cluster of a provider.

    Those are `tests/contract` without Hadoop's cases, Hadoop's cases, and any other file.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        provider = re.search(r"\[(nomad|kubernetes)[-\]]", test)
        return f"{_sharing(file)} {provider[1] if provider else ''}"


def _sharing(file: str) -> str:
    name = PurePath(file).stem
    if _CONTRACT not in file or name == _ALONE:
        return file
    return "hadoop" if "hadoop" in name else "contract"


def pytest_xdist_make_scheduler(config: Any, log: Any) -> ByCluster:
    """Return what shares the tests out."""
    return ByCluster(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest together, so that nobody waits for it at the end, and end with what waits least."""
    items.sort(key=lambda item: (_CONTRACT not in item.nodeid, _ALONE not in item.nodeid, "/cluster/" in item.nodeid))
