"""Hosts are connected before anything is changed; one login under two names is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from support.memory_engine.provider import MemoryProvider
from support.sshd import MARKS, Sshd, home, server

from cloudmesh.cluster.core.context import Context
from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.core.report import Silence
from cloudmesh.cluster.lifecycle import inspection
from cloudmesh.cluster.lifecycle.installation import Installation

__all__ = ["home", "server"]
pytestmark = MARKS


def connect(server: Sshd, *hosts: Host) -> None:
    run = Installation(Context(server.settings(), Silence(), "me@here"), cast(Any, MemoryProvider()), "demo", hosts)
    with run.stack:
        inspection.connect(run)


def test_one_login_under_two_names_is_given_twice(server: Sshd, home: Path) -> None:
    config = home / ".ssh" / "config"
    config.parent.mkdir(exist_ok=True)
    config.write_text(f"Host one büro\n  HostName 127.0.0.1\n  Port {server.port}\n")
    one, other = (server.host(name, port=0) for name in ("one", "büro"))
    connect(server, one)
    with pytest.raises(UsageError, match=r"one and büro are the same login, \w+@127\.0\.0\.1:\d+, given twice"):
        connect(server, one, other)
