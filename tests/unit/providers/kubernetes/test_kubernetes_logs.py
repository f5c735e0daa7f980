"""The output of a pod, continued where the connection was lost."""

from collections.abc import Iterable

import pytest

from cloudmesh.cluster.core.errors import ApiError, NotFoundError
from cloudmesh.cluster.providers.base import Chunk
from cloudmesh.cluster.providers.kubernetes import logs


def line(second: int, text: str) -> bytes:
    return f"2026-11-24T06:00:{second:02}.000000000Z {text}\n".encode()


class Pod:
    """Gives prepared pieces of stdout, one list for each time it is read; has ended at the last."""

    def __init__(self, *readings: list[bytes], error: Exception | None = None) -> None:
        self.readings = list(readings)
        self.error = error
        self.asked: list[tuple[bool, int | None]] = []

    def has_ended(self) -> bool:
        return len(self.readings) <= 1

    def read(self, stream: str, *, follow: bool, since_seconds: int | None) -> Iterable[bytes]:
        if stream == "stderr":
            return
        self.asked.append((follow, since_seconds))
        if self.error:
            raise self.error
        yield from self.readings.pop(0)


def output(pod: Pod) -> bytes:
    followed = logs.FollowedPods()
    followed.add(pod)
    return b"".join(chunk.data for chunk in followed.read_chunks() if chunk.stream == "stdout")


def test_lines_lose_their_times_and_nothing_else():
    pod = Pod([line(1, "a"), line(1, ""), line(2, "  b\r"), b"no time\n"])
    assert list(logs.read_written(pod)) == [Chunk("stdout", data) for data in (b"a\n", b"\n", b"  b\r\n", b"no time\n")]


def test_what_was_given_is_not_given_again():
    first = [line(1, "a"), line(2, "b"), line(2, "c")]
    assert output(Pod(first, [*first[1:], line(2, "d"), line(3, "e")])) == b"a\nb\nc\nd\ne\n"


def test_lines_of_the_same_moment_are_told_apart_by_their_number():
    assert output(Pod([line(1, "x"), line(1, "x")], [line(1, "x"), line(1, "x"), line(1, "x")])) == b"x\nx\nx\n"


def test_a_line_that_was_cut_is_given_once_and_whole():
    whole = line(1, "a") + line(2, "bcd")
    assert output(Pod([whole[:50]], [whole])) == b"a\nbcd\n"
    assert output(Pod([whole[:-2]], [whole])) == b"a\nbcd\n"


def test_a_last_line_without_an_end_is_given_too():
    assert output(Pod([(line(1, "a") + line(2, "b"))[:-1]])) == b"a\nb"


def test_what_breaks_off_is_read_again_though_the_pod_has_ended():
    class Breaking(Pod):
        broken = False

        def has_ended(self):
            return True

        def read(self, stream, *, follow, since_seconds):
            if stream == "stdout" and not self.broken:
                self.broken = True
                yield line(1, "a")
                raise logs.BrokenOffError("cut")
            yield from super().read(stream, follow=follow, since_seconds=since_seconds)

    assert output(Breaking([line(1, "a"), line(2, "b")])) == b"a\nb\n"


def test_it_is_followed_until_it_has_ended_and_then_read_to_its_end():
    pod = Pod([line(1, "a")], [line(1, "a"), line(2, "b")])
    assert output(pod) == b"a\nb\n"
    assert [follow for follow, _ in pod.asked] == [True, False]
    assert pod.asked[0][1] is None
    assert pod.asked[1][1] >= 5


def test_a_pod_that_was_removed_has_ended():
    assert output(Pod([], error=NotFoundError("gone"))) == b""


def test_an_api_that_is_away_for_good_is_told():
    with pytest.raises(ApiError, match="silent"):
        output(Pod([], error=ApiError("silent")))
