import dataclasses
import json

import pytest

from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Marker, Role
from cloudmesh.cluster.hosts import marker

MARKER = Marker("demo", "a1b2", "nomad", Role.SERVER, "10.0.0.1", ("10.0.0.1", "10.0.0.2"))


@pytest.mark.parametrize("given", [MARKER, dataclasses.replace(MARKER, role=Role.WORKER)])
def test_what_is_written_is_read_again(given: Marker) -> None:
    assert marker.loads(marker.dumps(given)) == given


def test_a_marker_of_an_earlier_version_says_no_name_of_a_node() -> None:
    fields = json.loads(marker.dumps(MARKER))
    del fields["node"]
    assert marker.loads(json.dumps(fields)) == MARKER
    assert marker.node_of(json.dumps(fields)) == marker.node_of("") == ""
    assert marker.node_of(json.dumps({**fields, "node": "one"})) == "one"


def test_the_same_marker_is_written_as_the_same_bytes() -> None:
    assert marker.dumps(MARKER) == marker.dumps(dataclasses.replace(MARKER))


def test_a_field_of_a_later_version_is_passed_over() -> None:
    fields = json.loads(marker.dumps(MARKER)) | {"colour": "blue"}
    assert marker.loads(json.dumps(fields)) == MARKER


@pytest.mark.parametrize(
    "change",
    [
        {"cluster": "../../etc"},
        {"cluster": None},
        {"id": "a\nb"},
        {"role": "king"},
        {"servers": "10.0.0.1"},
        {"servers": [1]},
        {"node": "a\nb"},
    ],
)
def test_a_marker_that_was_tampered_with_is_refused(change: dict[str, object]) -> None:
    fields = json.loads(marker.dumps(MARKER)) | change
    with pytest.raises(ClusterError, match=r"marker\.json is damaged"):
        marker.loads(json.dumps(fields))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}"])
def test_what_is_no_marker_is_refused_with_the_file_named(text: str) -> None:
    with pytest.raises(ClusterError, match=r"/etc/cloudmesh/cluster/marker\.json"):
        marker.loads(text)
