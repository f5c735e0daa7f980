"""Why a host does not let us become root, in words for users: what sudo, doas and login shells answer."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_READ_INPUT = re.compile(r"cms-[0-9a-f]{32}")  # a token of `ssh/frame.py`, which was on stdin
_SAID = 120  # characters of an answer that are quoted
_WARNING = re.compile(r"unable to resolve host|^password of \S+: $")
_PROMPT = re.compile(r"password of (\S+): ")  # see `cloudmesh/images/host/become_root.sh`
_WANTS_PASSWORD = re.compile(r"a password is required|[Aa]uthentication is required|Authentication required")
_WRONG_PASSWORD = re.compile(r"(Sorry|failed), try again|incorrect (password|authentication)|no password was provided")
_SYNTAX = r"syntax error|parse error"  # in sudoers: sudo passes over the line and goes on
# What a program answers, what that means, and what helps. {user} and {program} are filled in.
_CAUSES = (
    (
        r"must have a tty|no tty present",
        "it wants a terminal, which requiretty in sudoers asks for",
        "put 'Defaults:{user} !requiretty' there",
    ),
    (
        r"not in the sudoers file|may not run sudo|afraid I can't do that",
        "its sudoers does not name the user",
        "add the user there, or log in as another one by --user",
    ),
    (
        r"not allowed to (execute|run)",
        "its sudoers allows some commands only",
        "allow the user /bin/sh there, or log in as another one by --user",
    ),
    (
        r"setuid|effective uid|no new privileges",
        "it cannot make anybody root",
        "make root its owner with mode 4755, on a file system without nosuid, or log in as root",
    ),
    (
        r"password is expired|[Aa]ccount (has )?expired|account locked|password change required",
        "the account or its password has expired",
        "log in there by ssh and renew it, or log in as another user by --user",
    ),
    (
        r"doas: (Operation not permitted|doas is not enabled)",
        "its configuration does not name the user",
        "put 'permit nopass {user} as root' into /etc/doas.conf, or log in as another one by --user",
    ),
)


def wants_password(answer: str) -> bool:
    """Whether sudo or doas says that it wants a password, and that this is all that is wrong."""
    return bool(_WANTS_PASSWORD.search(answer)) and not any(re.search(pattern, answer) for pattern, _, _ in _CAUSES)


def is_wrong_password(answer: str) -> bool:
    """Whether sudo says that the password was wrong."""
    return bool(_WRONG_PASSWORD.search(answer))


def name_in_prompt(answer: str) -> str:
    """Return whose password sudo asked for, which is another user's with targetpw; empty if it did not ask."""
    match = _PROMPT.search(answer)
    return match[1] if match else ""


def quote(program: str, answer: str) -> str:
    """Return the line in which a program tells its reason, as "PROGRAM: LINE"."""
    lines = [line.strip() for line in _PROMPT.sub("", answer).splitlines() if line.strip() and not _is_warning(line)]
    name = PurePosixPath(program).name
    patterns = [_SYNTAX, *(pattern for pattern, _, _ in _CAUSES)]
    telling = [line for line in lines if any(re.search(pattern, line) for pattern in patterns)]
    named = [line for line in lines if line.startswith((f"{name}: ", f"{name}-rs: "))]
    line = next(iter([*telling, *named, *lines]), "no reason given")
    return f"{program}: {_shorten(line.removeprefix(f'{name}: '))}"


def explain_answer(user: str, program: str, status: int, answer: str) -> str:
    """Return why the program did not make `user` root, and what helps."""
    name = PurePosixPath(program).name
    said = quote(program, answer)
    for pattern, meaning, remedy in _CAUSES:
        if re.search(pattern, answer):
            return f"{name} refused user {user}: {meaning} ({said}): {remedy.format(user=user)}"
    refusal = f"refused user {user}" if status else f"gave user {user} no root shell"
    return f"{name} {refusal} ({said}; exit status {status}): log in as root, or as another user by --user"


def explain_limits(user: str, program: str) -> str:
    """Return that sudo allows `user` some commands, and no shell."""
    return (
        f"sudo refused user {user}: its sudoers allows some commands only, and not /bin/sh ({program} -l says so): "
        "allow it there, or log in as another user by --user"
    )


def explain_password(user: str, program: str, answer: str, is_allowed: bool) -> str:
    """Return that a password is wanted that nobody can give.

    Args:
        user: the login name.
        program: the sudo or doas.
        answer: what it printed.
        is_allowed: whether sudo has told that the user may run a shell with the password.
    """
    name = PurePosixPath(program).name
    if name == "doas":
        remedy = f"put 'permit nopass {user} as root' into /etc/doas.conf, because doas takes it on a terminal only"
    else:
        doubt = "" if is_allowed else f" (whether that names {user} at all, sudo tells after the password only)"
        remedy = f"run on a terminal, or allow NOPASSWD in sudoers{doubt}"
    return f"{name} wants a password of user {user} ({quote(program, answer)}): {remedy}"


def explain_shell(user: str, printed: str, errors: str, status: int) -> str:
    """Return why the login shell, or what is run instead of it, did not run what it was asked to.

    Args:
        user: the login name.
        printed: what came on stdout.
        errors: what came on stderr.
        status: the exit status; -1: a signal ended it.
    """
    if _READ_INPUT.search(printed + errors):
        return (
            f"user {user} cannot run commands: the login shell, or a command that sshd forces, read our input and ran "
            "nothing: do its start-up files start another shell?"
        )
    said = quote_shell(printed, errors)
    ending = "it was killed" if status == -1 else f"exit status {status}"
    if not said and status:
        return (
            f"the login shell of user {user} runs no commands, it ended without a word, as /bin/false does ({ending}): "
            "give the user another one by chsh, or log in as another user by --user"
        )
    if not said:
        return (
            f"the login shell of user {user} printed nothing of what it was told to print: "
            "does 'ssh HOST echo hello' do so, or do its start-up files redirect the output?"
        )
    return (
        f"user {user} cannot run commands: the login shell, or a command that sshd forces, answered {said} ({ending}): "
        "log in as another user by --user"
    )


def explain_late_shell(user: str, printed: str, errors: str, seconds: float) -> str:
    """Return that the login shell did not come to what it was asked to run."""
    said = quote_shell(printed, errors)
    remark = f"; it answered {said}" if said else ""
    return (
        f"the login shell of user {user} ran nothing in {seconds:g} s{remark}: "
        f"does 'ssh HOST true' return, and what do its start-up files wait for?"
    )


def quote_shell(printed: str, errors: str) -> str:
    """Return the first line of each stream in quotes; empty if there is none."""
    lines = [next((line.strip() for line in text.splitlines() if line.strip()), "") for text in (printed, errors)]
    return " and ".join(f'"{_shorten(line)}"' for line in lines if line)


def _is_warning(line: str) -> bool:
    return bool(_WARNING.search(line))


def _shorten(line: str) -> str:
    return line if len(line) <= _SAID else f"{line[:_SAID]}…"
