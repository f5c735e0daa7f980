"""The output of a job's pods, as the API gives it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import urllib3

from cloudmesh.cluster.errors import ApiError, NotFoundError
from cloudmesh.cluster.kubernetes import access, logs, podstatus, rest
from cloudmesh.cluster.kubernetes.access import asked, patiently

if TYPE_CHECKING:
    from kubernetes import client

_CHUNK = 1 << 16
_GONE = "unable to retrieve container logs"


class Output:
    """The output of a pod; see `logs.Source`.

    Args:
        its: the client.
        pod: its name.
    """

    def __init__(self, its: client.ApiClient, pod: str) -> None:
        self._its = its
        self._pod = pod

    def has_ended(self) -> bool:
        """Return whether the pod writes no more."""
        return podstatus.has_ended(patiently(lambda: asked(self._its, rest.PODS.read(self._pod))))

    def read(self, stream: str, *, follow: bool, since_seconds: int | None) -> Iterable[bytes]:
        """Yield pieces of a stream until it ends or breaks off."""
        options = {"sinceSeconds": since_seconds} if since_seconds else {}
        response = patiently(lambda: self._opened(follow=follow, stream=stream.capitalize(), **options))
        try:
            yield from response.stream(_CHUNK)
        except urllib3.exceptions.HTTPError as error:
            raise logs.BrokenOffError(f"Kubernetes: the output of {self._pod} broke off") from error
        finally:
            response.close()

    def _opened(self, **options: str | int | bool) -> urllib3.HTTPResponse:
        try:
            return access.streamed(self._its, rest.PODS.log(self._pod, timestamps=True, **options))
        except ApiError as error:
            # Its host has driven it out, or was started anew without it.
            if _GONE in str(error):
                raise NotFoundError(str(error)) from error
            raise
