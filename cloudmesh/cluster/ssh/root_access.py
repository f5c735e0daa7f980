"""Gains root on a host: asks the host which program makes the user root, and the operator for the password it wants."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from cloudmesh.cluster.core.context import SshSettings, question_lock
from cloudmesh.cluster.core.errors import AuthenticationError, HostTimeoutError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh import root_refusal
from cloudmesh.cluster.ssh.frame import make_token
from cloudmesh.cluster.ssh.host_script import LAUNCHER, PROGRAM_FOLDERS, SPARE_LINES, ScriptOutput, launch, load
from cloudmesh.cluster.ssh.remote_command import RemoteCommand

if TYPE_CHECKING:
    from cloudmesh.cluster.ssh.connection import Link

_SECONDS = 60.0  # sudo may wait for DNS, for PAM and for what PAM asks, several seconds each
_TRIES = 3  # passwords that one host is tried with: after more, some lock the account
# Runs a program with messages in English, also where the user's PATH leads nowhere.
_IN_ENGLISH = f'export LC_ALL=C LANGUAGE=C PATH="${{PATH:+$PATH:}}{PROGRAM_FOLDERS}"; exec "$@"'


@dataclass(frozen=True)
class RootAccess:
    """How a remote command is made to run as root.

    Attributes:
        program: the path of a sudo or doas; empty: the user who logs in is root.
        options: its options.
        stdin: is sent before the command's stdin: the password, which must not be in any argument list, or spare lines.
        delay: seconds that it took to run something as root.
        interpreter: how the login shell finds a POSIX shell.
    """

    program: str = ""
    options: tuple[str, ...] = ()
    stdin: bytes = field(default=SPARE_LINES, repr=False)
    delay: float = 0.0
    interpreter: str = "/bin/sh"

    @property
    def command(self) -> str:
        """The command for the login shell that runs `host_script.LAUNCHER` as root."""
        if not self.program:
            return shlex.join([self.interpreter, "-c", LAUNCHER])
        words = [self.interpreter, "-c", _IN_ENGLISH, "cms", self.program, *self.options, "/bin/sh", "-c", LAUNCHER]
        return shlex.join(words)

    def explain(self, user: str, command: RemoteCommand, status: int) -> str:
        """Return why `command`, which has ended, has not begun."""
        if self.program and PurePosixPath(self.program).name in command.stderr:
            return root_refusal.explain_answer(user, self.program, status, command.stderr)
        return root_refusal.explain_shell(user, command.preamble, command.stderr, status)


def gain_root(host: Host, link: Link, settings: SshSettings) -> RootAccess:
    """Return how commands become root on `host`, after trying it once, except where root has logged in.

    Raises:
        AuthenticationError: the login shell runs no commands, the host has no sudo or doas, it refused, or it wants a
            password that nobody can give.
        HostTimeoutError: the login shell or sudo gave no answer.
        paramiko.SSHException, OSError: the connection failed.
    """
    if link.user == "root":
        return RootAccess()
    answer = _ask(host, link)
    if answer.is_root:
        return answer.access()
    if not answer.program:
        cause = f"user {link.user} is not root, and there is no sudo and no doas: log in as root, or install one"
    elif not root_refusal.wants_password(answer.text):
        cause = root_refusal.explain_answer(link.user, answer.program, answer.status, answer.text)
    elif answer.allowed == "no":
        cause = root_refusal.explain_limits(link.user, answer.program)
    elif settings.sudo_password is None or not answer.takes_password:
        cause = root_refusal.explain_password(link.user, answer.program, answer.text, answer.allowed == "yes")
    else:
        return _gain_root_with_password(host, link, settings, settings.sudo_password, answer)
    raise AuthenticationError(str(host), cause)


@dataclass(frozen=True)
class _Answer:
    """What `host/become_root.sh` has told.

    Attributes:
        program: the sudo or doas that was tried; empty: the user is root already, or there is none.
        is_root: whether a shell has run as root.
        status: the program's exit status.
        text: what it printed.
        allowed: "yes" or "no" where sudo has told whether it allows a shell with a password; else empty.
        delay: seconds that all of it took.
        interpreter: how the login shell finds a POSIX shell.
        password: what was sent as the password; None: nothing.
    """

    program: str
    is_root: bool
    status: int
    text: str
    allowed: str
    delay: float
    interpreter: str
    password: str | None = field(repr=False)

    @property
    def takes_password(self) -> bool:
        """Whether the program reads a password from stdin, as sudo does and doas does not."""
        return not self.program.endswith("/doas")

    def access(self) -> RootAccess:
        """Return how commands become root in the way that was tried with success."""
        if not self.program:
            return RootAccess(delay=self.delay, interpreter=self.interpreter)
        forget = ("-k",) if self.takes_password else ()  # a password that sudo remembers would be read by the script
        if self.password is None:
            options = (*forget, "-n", "-u", "root")
            return RootAccess(self.program, options, delay=self.delay, interpreter=self.interpreter)
        options = (*forget, "-S", "-u", "root", "-p", "")
        return RootAccess(self.program, options, _line(self.password), self.delay, self.interpreter)


def _gain_root_with_password(
    host: Host, link: Link, settings: SshSettings, ask: Callable[[str], str], asked: _Answer
) -> RootAccess:
    """Try the password that the host took before, those that others took, then ask: at most three passwords in all.

    A question and the trying of its answer are one: hosts that wait for the question lock find only answers that some
    host took.
    """
    account, answers = f"{link.user}@{host}", settings.sudo_answers
    owner, refused = link.user, list[str]()
    while len(refused) < _TRIES:
        answer = None
        with question_lock:
            taken = [password for password in answers.values() if password not in refused]
            if taken and len(refused) < _TRIES - 1:
                password = answers[account] if not refused and account in answers else taken[-1]
            else:
                refusal = f"{host} refused that password; " if refused else ""
                password = ask(f"{refusal}sudo password of {owner}@{host}")
                if not password:
                    raise AuthenticationError(str(host), f"sudo wants a password of user {owner}, and none was given")
                answer = _ask(host, link, asked, password)
                if answer.is_root:
                    answers[account] = password
        answer = answer or _ask(host, link, asked, password)
        if answer.is_root:
            answers[account] = password
            return answer.access()
        if not root_refusal.is_wrong_password(answer.text):
            cause = root_refusal.explain_answer(link.user, answer.program, answer.status, answer.text)
            raise AuthenticationError(str(host), cause)
        owner = root_refusal.name_in_prompt(answer.text) or owner
        refused.append(password)
    raise AuthenticationError(str(host), f"sudo refused the password of user {owner}, {_TRIES} times")


def _ask(
    host: Host, link: Link, asked: _Answer | None = None, password: str | None = None, interpreter: str = "/bin/sh"
) -> _Answer:
    """Run `host/become_root.sh`, at first without arguments, then with the program that it told of and a password."""
    token, start = make_token(), time.monotonic()
    interpreter = asked.interpreter if asked else interpreter
    text = launch(token, load("host/become_root.sh"), *([asked.program] if asked else []))
    command = RootAccess(interpreter=interpreter).command
    payload = SPARE_LINES + text + (_line(password) if password is not None else b"")
    lines, deadline = ScriptOutput(), start + _SECONDS
    with RemoteCommand(link.transport, command, token, [payload], timeout=_SECONDS) as running:
        try:
            for line in running.lines(deadline):
                lines.feed(line)
            status = running.status(deadline)
        except TimeoutError as error:
            raise HostTimeoutError(str(host), _explain_timeout(link.user, running, lines)) from error
        if not running.began and "restricted" in running.stderr and interpreter != "sh":
            # A restricted shell runs no program by its path.
            return _ask(host, link, interpreter="sh")
        if not running.began:
            cause = root_refusal.explain_shell(link.user, running.preamble, running.stderr, status)
            raise AuthenticationError(str(host), cause)
    facts = lines.facts
    return _Answer(
        program=facts.get("program", ""),
        is_root="0" in (facts.get("uid"), facts.get("root")),
        status=int(facts.get("status", "0")),
        text="\n".join(lines.output),
        allowed=facts.get("allowed", ""),
        delay=time.monotonic() - start,
        interpreter=interpreter,
        password=password,
    )


def _explain_timeout(user: str, command: RemoteCommand, lines: ScriptOutput) -> str:
    if not command.began:
        return root_refusal.explain_late_shell(user, command.preamble, command.stderr, _SECONDS)
    program = lines.facts.get("trying", "").rpartition("\n")[2]
    return f"{program or 'the host'} gave no answer in {_SECONDS:g} s: does 'sudo true' return there?"


def _line(password: str) -> bytes:
    return password.encode() + b"\n"
