"""How tests are shared out where several run beside each other."""

import re

import pytest


@pytest.hookimpl(tryfirst=True)  # xdist looks at the groups next
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares a cluster: `tests/contract` by provider, any other file by itself and by provider."""
    for item in items:
        folder = "/".join(item.path.parts[-2:])
        if folder.startswith("unit/"):
            continue
        provider = re.search(r"\[.*\b(nomad|kubernetes)\b", item.name)
        shared = "contract" if folder.startswith("contract/") else folder
        item.add_marker(pytest.mark.xdist_group(f"{shared}-{provider[1] if provider else ''}"))
