"""Everything that `cms cluster` raises on purpose, and the exit code of each.

    ClusterError                 1   the operation failed
    ├── UsageError               2   a bad name, host range, option or job file
    ├── NotFoundError            3   no such cluster, job or host
    ├── LockedError              1   another operator is changing this cluster
    ├── HostError                1   one host failed; carries the host
    │   ├── UnreachableError     1   no TCP connection, no DNS answer, link cut
    │   ├── AuthenticationError  1   SSH key or sudo refused
    │   ├── HostKeyError         1   host key unknown or changed
    │   └── HostTimeoutError     1   no answer in the time given
    ├── HostsError               1   several hosts failed; carries a HostError for each
    ├── EngineError              1   the engine binaries could not be had
    ├── ImageError               1   an image could not be built or delivered
    └── ApiError                 1   the orchestrator's API refused or did not answer
        └── UnknownOutcomeError  1   the API went away; whether the job succeeded is not known

Foreign exceptions are mapped in one place for each library: paramiko in `hosts/link.py`, docker in `containers.py`,
python-nomad in `nomad/access.py`. Anything else that escapes is a defect, shown as one line and exit code 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class ClusterError(Exception):
    """The operation failed. The message is one line: what was wrong, where, and what to do."""

    exit_code = 1


class UsageError(ClusterError):
    """What was asked for is malformed; nothing was sent anywhere."""

    exit_code = 2


class NotFoundError(ClusterError):
    """The named cluster, job or host does not exist."""

    exit_code = 3


class LockedError(ClusterError):
    """Another operator holds the cluster; the message names the holder."""


class HostError(ClusterError):
    """A host failed.

    Args:
        host: the host as the user wrote it.
        cause: what was wrong and what to do, in one line, without the host's name.
    """

    def __init__(self, host: str, cause: str) -> None:
        super().__init__(f"{host}: {cause}")
        self.host = host
        self.cause = cause


class UnreachableError(HostError):
    """There is no way to the host: no DNS answer, a closed port, no route, or the link was cut."""


class AuthenticationError(HostError):
    """The host refused the SSH key, or sudo its password."""


class HostKeyError(HostError):
    """The host's key is unknown or has changed."""


class HostTimeoutError(HostError):
    """The host did not answer in the time given."""


class HostsError(ClusterError):
    """Several hosts failed, each for a reason of its own.

    Args:
        failures: the error of each failed host, by the host's name.
    """

    def __init__(self, failures: Mapping[str, ClusterError]) -> None:
        super().__init__("; ".join(str(failure) for failure in failures.values()))
        self.failures = dict(failures)


class BinaryError(ClusterError):
    """The engine binaries could not be fetched, built or verified."""


class ImageError(ClusterError):
    """An image could not be built, pushed or found."""


class ApiError(ClusterError):
    """The orchestrator's API refused a request or did not answer."""


class InUseError(ApiError):
    """A place for data cannot be taken away.

    Args:
        place: its name.
        jobs: ids of those that use it.
    """

    def __init__(self, place: str, jobs: Sequence[str]) -> None:
        super().__init__(f"storage {place} is in use by job {', '.join(jobs)}: stop it, or wait until it has ended")
        self.jobs = tuple(jobs)


class UnknownOutcomeError(ApiError):
    """The API went away before the job ended; whether it succeeds is not known."""
