"""The output of pods: the files that their hosts keep of it, read by the byte, through the API and the kubelet.

The API has a request of its own for the output of a pod. It cannot be used: it shows the newest file only, and can be
continued at a time but not at a byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from cloudmesh.cluster.core.errors import NotFoundError
from cloudmesh.cluster.providers import outcomes
from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.providers.kubernetes import pod_status, requests
from cloudmesh.cluster.providers.kubernetes.api_client import BeyondEndError, call_with_retry, read_bytes
from cloudmesh.cluster.providers.kubernetes.cri_log import CriLog

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


_PIECE_BYTES = 4 << 20
_LINK = re.compile(r'href="([^"]+)"')
# The kubelet compresses older files before it removes them.
_COMPRESSED = (".gz", ".tmp")


class LogFolder(Protocol):
    """The files that a host has of the output of a container, as this module needs them."""

    def list_names(self) -> list[str]:
        """Return the names of the files; NotFoundError where there is no such folder."""

    def read(self, name: str, offset: int) -> bytes:
        """Return the next bytes of a file; none at its end.

        Raises:
            BeyondEndError: the file is shorter than `offset`.
            NotFoundError: there is no such file.
        """


class PodOutput:
    """What a container has written, each piece of which is returned once.

    Args:
        folder: of its host.
        task: the name of its task.
    """

    def __init__(self, folder: LogFolder, task: str) -> None:
        self._folder = folder
        self._task = task
        self._attempts: dict[int, _AttemptOutput] = {}

    def read_new(self, restarts: int) -> Iterator[Chunk]:
        """Yield what was written since the last call.

        Args:
            restarts: how often the container was restarted in its pod.

        Raises:
            NotFoundError: its host keeps nothing of it any more.
        """
        if not self._attempts:
            numbers = {name.partition(".")[0] for name in self._folder.list_names()}
            self._add(sorted(map(int, filter(str.isdigit, numbers))))
        self._add(range(max(self._attempts, default=-1) + 1, restarts + 1))
        for attempt in self._attempts.values():
            yield from attempt.read_new()

    def _add(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._attempts[number] = _AttemptOutput(self._folder, self._task, number)


class _AttemptOutput:
    """What a container has written from one start to its end.

    The kubelet renames its file when it has grown to a bound, see `bootstrap.py`, has the runtime begin another, and
    keeps one that was renamed.
    """

    def __init__(self, folder: LogFolder, task: str, number: int) -> None:
        self._folder = folder
        self._task = task
        self._current = f"{number}.log"
        self._renamed: set[str] = set()  # those that are known
        self._names: list[str] = []  # what is still to be read
        self._offset = 0  # in the first of them
        self._log = CriLog()

    def read_new(self) -> Iterator[Chunk]:
        """Yield what was written since the last call."""
        if not self._names:
            yield from self._begin()
        while True:
            try:
                piece = self._folder.read(self._names[0], self._offset)
            except NotFoundError:  # it has written nothing yet, or its file is just being renamed
                return
            except BeyondEndError:
                yield from self._go_on_in_renamed()
                continue
            self._offset += len(piece)
            yield from self._log.read(piece)
            if not piece and len(self._names) == 1:
                return
            if not piece:
                del self._names[0]
                self._offset = 0

    def _begin(self) -> Iterator[Chunk]:
        renamed = self._list_renamed()
        if renamed:
            yield outcomes.missing_output(f"{self._task} is large: it may lack its beginning, the last part is kept")
        self._names = [*(name for name in renamed if not name.endswith(_COMPRESSED)), self._current]

    def _go_on_in_renamed(self) -> Iterator[Chunk]:
        """Find the file that was read until now by its new name."""
        known = set(self._renamed)
        new = [name for name in self._list_renamed() if name not in known]
        if len(new) != 1 or new[0].endswith(_COMPRESSED):
            yield outcomes.output_gap(self._task, 0)
            self._log.skip_rest()
            self._offset = 0
        self._names = [*(name for name in new[-1:] if not name.endswith(_COMPRESSED)), self._current]

    def _list_renamed(self) -> list[str]:
        """Return the names of the files that the kubelet has renamed, the oldest first."""
        renamed = sorted(name for name in self._folder.list_names() if name.startswith(f"{self._current}."))
        self._renamed.update(renamed)
        return renamed


class KubeletFolder:
    """A `LogFolder` that is read through the API.

    Args:
        client: the API client.
        pod: the pod, of which the first container is read.
    """

    def __init__(self, client: ApiClient, pod: Mapping[str, Any]) -> None:
        self._client = client
        self._node = str(pod["spec"]["nodeName"])
        self._path = pod_status.log_folder(pod)

    def list_names(self) -> list[str]:
        """Return the names of the files."""
        page = self._read(requests.log_file(self._node, f"{self._path}/")).decode()
        return [unquote(link).rpartition("/")[2] for link in _LINK.findall(page)]

    def read(self, name: str, offset: int) -> bytes:
        """Return the next bytes of a file."""
        # At its end there is one byte, which was read before, so that a file that is too short can be told from that.
        start = max(0, offset - 1)
        request = requests.log_file(self._node, f"{self._path}/{name}", start, offset + _PIECE_BYTES)
        return self._read(request)[offset - start :]

    def _read(self, request: requests.Request) -> bytes:
        return call_with_retry(lambda: read_bytes(self._client, request))
