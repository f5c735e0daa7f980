"""The passphrase of a backup: from a file, or from a terminal, and never from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cloudmesh.cluster.command.arguments import Arguments
from cloudmesh.cluster.core.errors import UsageError


def new_passphrase(arguments: Arguments) -> str:
    """Return the passphrase by which a backup is to be encrypted; empty where none is wanted.

    Raises:
        UsageError: the file holds none, nobody can be asked, or the two answers differ.
    """
    if file := arguments.text("--passphrase-file"):
        return _read(file)
    if not arguments.flag("--passphrase"):
        return ""
    ask = _asker(arguments)
    if ask is None:
        raise UsageError("--passphrase is asked for on a terminal, and there is none: use --passphrase-file=FILE")
    first = ask("passphrase of the backup")
    if not first or first != ask("the same again"):
        raise UsageError("the passphrase is empty, or was not the same again: nothing was done")
    return first


def passphrase_source(arguments: Arguments) -> Callable[[], str] | str:
    """Return the passphrase of a file, or what asks for it where the backup turns out to need one; empty: neither."""
    if file := arguments.text("--passphrase-file"):
        return _read(file)
    ask = _asker(arguments)
    return (lambda: ask("passphrase of the backup")) if ask else ""


def _asker(arguments: Arguments) -> Callable[[str], str] | None:
    from cloudmesh.cluster.command.console import prompts

    return (lambda what: prompts.ask_password(arguments.progress, what)) if prompts.can_ask() else None


def _read(file: str) -> str:
    try:
        text = Path(file).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = (error.strerror if isinstance(error, OSError) else "") or "it is no text"
        raise UsageError(f"{ascii(file)[1:-1]} cannot be read: {cause}") from error
    passphrase = text.partition("\n")[0].rstrip("\r")
    if not passphrase:
        raise UsageError(f"{ascii(file)[1:-1]} holds no passphrase: it is the first line")
    return passphrase
