"""Finds how a host is reached: address, login name, keys, jump hosts and more, as OpenSSH's configuration says."""

from __future__ import annotations

import getpass
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh import algorithms, config_files, openssh_config
from cloudmesh.cluster.ssh.algorithms import Algorithms
from cloudmesh.cluster.ssh.openssh_config import Answer

_DEFAULT_KEYS = "~/.ssh/id_"  # how the names of the key files begin that are tried where none is named

_NOTHING = ("none", "no", "false")  # values that switch an option off
# Options that only OpenSSH can heed: those that say how to connect or what to refuse …
_FOREIGN = ("ProxyUseFdpass", "RevokedHostKeys", "KnownHostsCommand", "BindInterface")
# … and those that can only add to the host keys that are accepted.
_FOREIGN_KEYS = ("VerifyHostKeyDNS", "NoHostAuthenticationForLocalhost")


@dataclass(frozen=True)
class Target:
    """Everything that is needed to reach a host.

    Attributes:
        address: DNS name or address to connect to.
        port: TCP port of sshd.
        user: login name.
        name: the host as the user wrote it.
        key_files: private key files that the user named, in order.
        default_key_files: those that are tried after the agent's keys, and need not exist.
        certificates: files of certificates for the keys.
        keys_forbidden: the option, with its value, for which no key may be used; empty: keys may be.
        agent: whether keys of the SSH agent may be tried beside `key_files`.
        agent_socket: path of the SSH agent's socket; empty: there is no agent.
        jumps: jump hosts on the way, `[user@]host[:port]`, beginning with the one to connect to first.
        proxy_command: a command for the local shell, whose stdin and stdout are the connection; empty: none.
        bind_address: the local address to connect from; empty: any.
        address_family: to which kind of addresses to connect, inet or inet6; empty: to any.
        connection_attempts: how often to try to connect.
        connect_timeout: seconds for TCP connection and key exchange; 0: the caller's.
        key_name: the name under which known_hosts files have the host's key (HostKeyAlias); empty: `address`.
        known_hosts: the known_hosts files of the user and of the system.
        accepts_new_keys: whether unknown host keys are accepted without a question; changed ones never are.
        asks_for_keys: whether the user may be asked to accept an unknown host key.
        algorithms: those that may be used.
        foreign: what only OpenSSH itself can do, in the words of its configuration; empty: nothing.
        foreign_keys: what only OpenSSH can verify host keys by, in the words of its configuration; empty: nothing.
    """

    address: str
    port: int
    user: str
    name: str = ""
    key_files: tuple[Path, ...] = ()
    default_key_files: tuple[Path, ...] = ()
    certificates: tuple[Path, ...] = ()
    keys_forbidden: str = ""
    agent: bool = True
    agent_socket: str = ""
    jumps: tuple[str, ...] = ()
    proxy_command: str = ""
    bind_address: str = ""
    address_family: str = ""
    connection_attempts: int = 1
    connect_timeout: float = 0.0
    key_name: str = ""
    known_hosts: tuple[Path, ...] = ()
    accepts_new_keys: bool = False
    asks_for_keys: bool = True
    algorithms: Algorithms = field(default_factory=Algorithms)
    foreign: str = ""
    foreign_keys: str = ""


def resolve(host: Host) -> Target:
    """Return how to reach `host`: from its own fields, then as OpenSSH's client says, then defaults.

    Where the client is not installed, its files are read as well as we can.

    Raises:
        UsageError: a configuration file cannot be read or is malformed.
    """
    if host.address:  # a local host, which no configuration file mentions
        return Target(host.address, host.port or 22, host.user or getpass.getuser(), key_name=host.name, agent=False)
    if client := openssh_config.program():
        return _make_target(host, openssh_config.ask(client, host.name, host.user, host.port))
    options = config_files.read(host.name, host.user, host.port)
    tokens = {"d": str(Path.home()), "h": options.get("hostname", [host.name])[0], "n": host.name}
    return _make_target(host, Answer(options, tokens, host.name))


def parse_jump_host(text: str) -> Host:
    """Return the jump host of `[user@]host[:port]`, as OpenSSH writes it: with brackets also around a name."""
    user, _, where = text.removeprefix("ssh://").rstrip("/").rpartition("@")
    if match := re.fullmatch(r"\[([^]]+)\](?::([0-9]+))?|([^:]+)(?::([0-9]+))?|([0-9A-Fa-f:.]+)", where):
        return Host(match[1] or match[3] or match[5], user=user, port=int(match[2] or match[4] or 0))
    raise UsageError(f"the jump host {text!a} of the SSH configuration is no [user@]host[:port]")


def _make_target(host: Host, answer: Answer) -> Target:
    options = answer.options

    def one(name: str, default: str = "") -> str:
        value = options.get(name, [default])[0]
        return default if value.lower() == "none" else value

    def paths(values: Sequence[str]) -> tuple[Path, ...]:
        return tuple(Path(answer.expand_path(value)) for value in values if value.lower() != "none")

    written = options.get("identityfile", [])
    are_defaults = len(written) > 1 and all(value.startswith(_DEFAULT_KEYS) for value in written)
    strictness = one("stricthostkeychecking", "ask").lower()
    jumps = answer.expand_tokens(one("proxyjump"))
    return Target(
        address=one("hostname", host.name),
        port=_parse_port(host, one("port", "22")),
        user=one("user") or getpass.getuser(),
        name=host.name,
        key_files=(Path(host.key).expanduser(),) if host.key else paths(() if are_defaults else written),
        default_key_files=paths(written if are_defaults and not host.key else ()),
        certificates=paths(options.get("certificatefile", [])),
        keys_forbidden=_find_what_forbids_keys(one("pubkeyauthentication", "yes"), one("preferredauthentications")),
        agent=not host.key and one("identitiesonly", "no").lower() not in ("yes", "true"),
        agent_socket=_find_agent(options.get("identityagent", ["SSH_AUTH_SOCK"])[0], answer),
        jumps=tuple(jump.strip() for jump in jumps.split(",")) if jumps else (),
        proxy_command=answer.expand_tokens(one("proxycommand")),
        bind_address=one("bindaddress"),
        address_family=one("addressfamily").lower().replace("any", ""),
        connection_attempts=_parse_number(one("connectionattempts", "1"), 1),
        connect_timeout=_parse_number(one("connecttimeout"), 0),
        key_name=one("hostkeyalias"),
        known_hosts=tuple(
            path
            for option in ("userknownhostsfile", "globalknownhostsfile")
            for value in options.get(option, [])
            for path in paths(_split_names(value))
        ),
        accepts_new_keys=strictness in ("accept-new", "no", "off", "false"),
        asks_for_keys=strictness not in ("yes", "true"),
        algorithms=algorithms.read(options),
        foreign=_find_foreign_option(options),
        foreign_keys=" and ".join(word for word in _FOREIGN_KEYS if _is_on(options, word)),
    )


def _parse_port(host: Host, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise UsageError(f"{host}: the SSH configuration has port {text}: use 1 to 65535")
    return int(text)


def _is_on(options: Mapping[str, Sequence[str]], word: str) -> bool:
    return options.get(word.lower(), ["none"])[0].lower() not in _NOTHING


def _find_foreign_option(options: Mapping[str, Sequence[str]]) -> str:
    return next((word for word in _FOREIGN if _is_on(options, word)), "")


def _find_what_forbids_keys(allows_keys: str, methods: str) -> str:
    if allows_keys.lower() in _NOTHING:
        return "PubkeyAuthentication no"
    return f"PreferredAuthentications {methods}" if methods and "publickey" not in methods.split(",") else ""


def _parse_number(text: str, default: int) -> int:
    return int(text) if text.isdecimal() else default


def _find_agent(value: str, answer: Answer) -> str:
    """Return the path of the agent's socket that IdentityAgent names."""
    if value == "none":
        return ""
    path = "$SSH_AUTH_SOCK" if value == "SSH_AUTH_SOCK" else answer.expand_path(value)
    return os.environ.get(path[1:], "") if path.startswith("$") else path


def _split_names(value: str) -> list[str]:
    """Return the file names of a list.

    Two names and one name with a blank look the same in what `ssh -G` prints. So names with blanks are names too
    where there are such files.
    """
    try:
        words = shlex.split(value)
    except ValueError:
        words = value.split()
    joined = (" ".join(words[start:end]) for start, end in combinations(range(len(words) + 1), 2) if end > start + 1)
    return [*words, *(name for name in joined if Path(name).is_file())]
