"""How tests are shared out where several run beside each other."""

import re
from typing import Any

from xdist.scheduler import LoadScopeScheduling


class ByCluster(LoadScopeScheduling):
    """Keeps together what shares a cluster: `tests/contract` by provider, any other file by itself and by provider."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        provider = re.search(r"\[.*\b(nomad|kubernetes)\b", test)
        shared = "contract" if "/contract/" in file else file
        return f"{shared} {provider[1] if provider else ''}"


def pytest_xdist_make_scheduler(config: Any, log: Any) -> ByCluster:
    """Return what shares the tests out."""
    return ByCluster(config, log)
