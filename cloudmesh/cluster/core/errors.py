"""Everything that `cms cluster` raises on purpose, and the exit code of each.

    ClusterError                 1   the operation failed
    ├── UsageError               2   a bad name, host range, option or job file
    ├── NotFoundError            3   no such cluster, job, host or volume
    ├── LockedError              1   another operator is changing this cluster
    ├── HostError                1   one host failed; carries the host
    │   ├── UnreachableError     1   no TCP connection, no DNS answer, link cut
    │   ├── AuthenticationError  1   SSH key or sudo refused
    │   ├── HostKeyError         1   host key unknown or changed
    │   └── HostTimeoutError     1   no answer in the time given
    ├── HostsError               1   several hosts failed; carries the error of each
    ├── BinaryError              1   the engine's binaries could not be fetched, built or verified
    │   └── SourceUnavailableError   (binaries/cache.py) one source does not have the binaries
    ├── ImageError               1   an image could not be built, pushed or found
    │   └── NoDaemonError            (docker_daemon/docker_client.py) no Docker daemon runs on the operator's machine
    └── ApiError                 1   the engine's API refused a request or did not answer
        ├── InUseError           1   a volume cannot be removed: jobs use it
        ├── UnknownOutcomeError  1   the API went away; whether the job succeeded is not known
        ├── MalformedError           (providers/nomad/api_client.py) Nomad did not understand a request
        ├── SilentError              (providers/kubernetes/api_client.py) the API did not answer
        ├── RefusedError             (providers/kubernetes/api_client.py) TLS or the certificate was refused
        └── ConflictError            (providers/kubernetes/api_client.py) an object of that name exists already

Classes with a file name in parentheses are defined there, because only their own package catches them; all have exit
code 1.

The exceptions of each library are translated in one place:

    paramiko           ssh/connection.py
    docker             docker_daemon/docker_client.py
    python-nomad       providers/nomad/api_client.py
    kubernetes         providers/kubernetes/api_client.py
    requests           images/registry.py, for the cluster's registry

Any other exception that escapes is a defect; the command shows it as one line and ends with exit code 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class ClusterError(Exception):
    """The operation failed. The message is one line: what was wrong, where, and what to do."""

    exit_code = 1


class UsageError(ClusterError):
    """The request is malformed: a name, an option or a file; nothing was sent anywhere."""

    exit_code = 2


class NotFoundError(ClusterError):
    """The named cluster, job, host or volume does not exist."""

    exit_code = 3


class LockedError(ClusterError):
    """Another operator holds the cluster; the message names the holder."""


class HostError(ClusterError):
    """A host failed.

    Args:
        host: the host, as the user wrote it.
        cause: what was wrong and what to do, in one line, without the host's name.
    """

    def __init__(self, host: str, cause: str) -> None:
        super().__init__(f"{host}: {cause}")
        self.host = host
        self.cause = cause


class UnreachableError(HostError):
    """The host cannot be reached: no DNS answer, a closed port, no route, or the connection was cut."""


class AuthenticationError(HostError):
    """The host refused the SSH key, its login shell runs nothing, or nobody becomes root there."""


class HostKeyError(HostError):
    """The host's key is unknown or has changed."""


class HostTimeoutError(HostError):
    """The host did not answer in the time given."""


class HostsError(ClusterError):
    """Several hosts failed, each for its own reason.

    Args:
        failures: the error of each failed host, by the host's name.
    """

    def __init__(self, failures: Mapping[str, ClusterError]) -> None:
        super().__init__("; ".join(str(failure) for failure in failures.values()))
        self.failures = dict(failures)


class BinaryError(ClusterError):
    """The engine's binaries could not be fetched, built or verified."""


class ImageError(ClusterError):
    """An image could not be built, pushed or found."""


class ApiError(ClusterError):
    """The engine's API refused a request or did not answer."""


class InUseError(ApiError):
    """A volume cannot be removed, because jobs use it.

    Args:
        volume: the volume's name.
        jobs: ids of the jobs that use it.
    """

    def __init__(self, volume: str, jobs: Sequence[str]) -> None:
        super().__init__(f"storage {volume} is in use by job {', '.join(jobs)}: stop it, or wait until it has ended")
        self.jobs = tuple(jobs)


class UnknownOutcomeError(ApiError):
    """The API went away before the job ended; whether the job succeeds is not known."""
