"""Logs in by what the user is asked for, where no key gets in by itself: passphrases of key files, then a password."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.context import SshSettings, question_lock
from cloudmesh.cluster.core.errors import AuthenticationError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh import keys
from cloudmesh.cluster.ssh.ssh_config import Target

if TYPE_CHECKING:
    import paramiko

# What was answered, unless it was wrong, so that it is asked for once: passphrases by file, passwords by "USER@HOST".
_answers: dict[str, str] = {}


def log_in(
    transport: paramiko.Transport, host: Host, target: Target, settings: SshSettings, refusal: AuthenticationError
) -> None:
    """Authenticate by what the user answers.

    Args:
        transport: after its key exchange and the verification of the host's key.
        host: the host.
        target: the login name, and the key files.
        settings: asks the user.
        refusal: why the login failed without questions.

    Raises:
        AuthenticationError: the host refused, or there is nothing to ask for.
        paramiko.SSHException, EOFError, OSError: the connection failed.
    """
    import paramiko

    methods = _list_methods(transport, target.user)
    if transport.is_authenticated():
        return
    remarks: list[str] = []
    for attempt in _list_attempts(transport, host, target, settings, methods, remarks):
        try:
            if not attempt():
                return
        except paramiko.AuthenticationException as error:
            if not transport.is_active():
                break
            if "timeout" in str(error):
                raise TimeoutError from error
    raise AuthenticationError(str(host), "; ".join((refusal.cause, *remarks))) from refusal


def _list_attempts(
    transport: paramiko.Transport,
    host: Host,
    target: Target,
    settings: SshSettings,
    methods: list[str],
    remarks: list[str],
) -> Iterator[Callable[[], list[str]]]:
    """Yield functions that try to log in and return what the host wants beside; `remarks` is told what fails."""
    if settings.passphrase and "publickey" in methods and not target.keys_forbidden:
        for path in keys.list_encrypted(target):
            answer = _ask(settings.passphrase, str(path))
            if not answer:
                continue
            try:
                for key in keys.open_encrypted(path, answer, target):
                    yield lambda key=key: transport.auth_publickey(target.user, key)  # type: ignore[misc]
            except (OSError, ValueError):
                _answers.pop(str(path), None)
                remarks.append(f"key file {path} could not be opened: its passphrase was wrong")
    if settings.password and {"password", "keyboard-interactive"} & set(methods):
        who = f"{target.user}@{host}"
        answer = _ask(settings.password, who)
        if answer:
            yield lambda: transport.auth_password(target.user, answer)
            _answers.pop(who, None)
            remarks.append(f"and the password of user {target.user}")


def _list_methods(transport: paramiko.Transport, user: str) -> list[str]:
    """Return the methods by which a user may log in."""
    import paramiko

    try:
        transport.auth_none(user)
    except paramiko.BadAuthenticationType as error:
        return list(error.allowed_types)
    return []


def _ask(question: Callable[[str], str], about: str) -> str:
    with question_lock:
        if about in _answers:
            return _answers[about]
        # An empty answer is kept, too: the user does not want to say, and is left in peace.
        _answers[about] = answer = question(about)
        return answer
