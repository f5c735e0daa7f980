"""How often a request to Nomad is made, and which errors come of it."""

from __future__ import annotations

import pytest
import requests
from nomad.api.exceptions import (
    BadRequestNomadException,
    BaseNomadException,
    URLNotAuthorizedNomadException,
    URLNotFoundNomadException,
    VariableConflict,
)
from support.clock import Clock, provide_clock

from cloudmesh.cluster.core.errors import ApiError, ClusterError, NotFoundError
from cloudmesh.cluster.providers.nomad.api_client import MalformedError, call, call_with_retry

__all__ = ["provide_clock"]
pytestmark = pytest.mark.usefixtures("clock")


class Failing:
    """A request that fails so often, and succeeds then."""

    def __init__(self, error: Exception, times: int = 1_000_000) -> None:
        self.error = error
        self.times = times
        self.attempts = 0

    def __call__(self) -> str:
        self.attempts += 1
        if self.attempts <= self.times:
            raise self.error
        return "answer"


def response(status: int) -> requests.Response:
    answer = requests.Response()
    answer.status_code = status
    answer._content = b"words of\nNomad"
    return answer


SILENCE = BaseNomadException(requests.ConnectionError())
NO_LEADER = BaseNomadException(response(500))
STARTING = URLNotAuthorizedNomadException(response(403))  # it knows no token yet


@pytest.mark.parametrize("error", [SILENCE, NO_LEADER, STARTING, requests.Timeout(), ConnectionResetError()])
def test_an_api_that_is_away_is_asked_three_times_a_second_apart(error: Exception, clock: Clock):
    request = Failing(error)
    with pytest.raises(ApiError) as caught:
        call(request)
    assert (request.attempts, clock.now) == (3, 2.0)
    assert type(caught.value) is ApiError
    assert caught.value.__cause__ is error


def test_a_node_that_was_taken_out_is_not_found():
    answer = response(400)
    answer._content = b'Unknown node "8d9dd7a8-1b3f"'
    request = Failing(BadRequestNomadException(answer))
    with pytest.raises(NotFoundError, match=r'Unknown node "8d9dd7a8-1b3f" \(HTTP 400\)'):
        call(request)
    assert request.attempts == 1


def test_an_api_that_is_back_answers():
    request = Failing(SILENCE, times=2)
    assert call(request) == "answer"
    assert request.attempts == 3


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (VariableConflict(response(409)), ApiError, "Nomad: words of Nomad (HTTP 409)"),
        (BadRequestNomadException(response(400)), MalformedError, "Nomad: words of Nomad (HTTP 400)"),
        (URLNotFoundNomadException(response(404)), NotFoundError, "words of Nomad (HTTP 404)"),
    ],
)
def test_a_refusal_is_final(error: Exception, kind: type[ClusterError], text: str):
    request = Failing(error)
    with pytest.raises(kind) as caught:
        call(request)
    assert request.attempts == 1
    assert type(caught.value) is kind
    assert str(caught.value) == text
    assert caught.value.__cause__ is error


def test_silence_is_said_in_words():
    with pytest.raises(ApiError, match=r"^Nomad: no answer from its API$"):
        call(Failing(SILENCE))


def test_a_defect_is_not_an_answer_of_nomads():
    request = Failing(ValueError("a defect"))
    with pytest.raises(ValueError, match="a defect"):
        call(request)
    assert request.attempts == 1


def test_a_request_within_a_request_is_not_made_more_often():
    request = Failing(SILENCE)
    with pytest.raises(ApiError):
        call(lambda: call(request))
    assert request.attempts == 3


def test_who_can_wait_waits_a_minute(clock: Clock):
    request = Failing(SILENCE)
    with pytest.raises(ApiError):
        call_with_retry(request)
    assert 60 <= clock.now <= 63
    assert call_with_retry(Failing(SILENCE, times=30)) == "answer"


def test_who_can_wait_does_not_wait_for_what_is_not_there(clock: Clock):
    with pytest.raises(NotFoundError):
        call_with_retry(Failing(URLNotFoundNomadException(response(404))))
    assert clock.now == 0
