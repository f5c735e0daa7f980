"""Host lists as users write them."""

import pytest

from cloudmesh.cluster.core.errors import UsageError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh.host_list import parse_hosts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h1", [Host("h1")]),
        ("bob@h1:2222", [Host("h1", user="bob", port=2222)]),
        ("h1:22,h2", [Host("h1", port=22), Host("h2")]),
        ("node[01-03]", [Host("node01"), Host("node02"), Host("node03")]),
        ("bob@node[1,3].lan:22", [Host("node1.lan", "bob", 22), Host("node3.lan", "bob", 22)]),
        ("127.0.0.1:[2201-2202]", [Host("127.0.0.1", port=2201), Host("127.0.0.1", port=2202)]),
        ("[fe80::1]:22", [Host("fe80::1", port=22)]),
        ("bob@[::1]", [Host("::1", user="bob")]),
        ("2001:DB8::1", [Host("2001:db8::1")]),
        (" h1 , h2,, ", [Host("h1"), Host("h2")]),
        ("a@b@h1", [Host("h1", user="a@b")]),
    ],
)
def test_what_users_write_is_understood(text, expected):
    assert list(parse_hosts(text)) == expected


def test_options_fill_what_is_not_written():
    assert parse_hosts("h1,bob@h2:1", user="ann", port=2, key="/k") == (
        Host("h1", user="ann", port=2, key="/k"),
        Host("h2", user="bob", port=1, key="/k"),
    )


@pytest.mark.parametrize(
    ("text", "which"),
    [
        ("a,a", r"host a:22 is given twice, the second time by 'a'"),
        ("h2,h1,h[1-2]", r"host h1:22 is given twice, the second time by 'h\[1-2\]'"),
        ("h1:22,bob@h1", r"host h1:22 is given twice, the second time by 'bob@h1'"),
        ("[::1]:22,::1", r"host \[::1\]:22 is given twice, the second time by '::1'"),
    ],
)
def test_a_host_that_is_given_twice_is_refused_and_told_where(text, which):
    with pytest.raises(UsageError, match=which):
        parse_hosts(text, user="bob", port=22)


@pytest.mark.parametrize("name", ["büro", "my+srv", "srv1.", "_jump", "a=b", "web_1-", "сервер", "a..b", "x" * 64])
def test_names_that_ssh_takes_as_aliases_are_taken(name):
    assert parse_hosts(name) == (Host(name),)


@pytest.mark.parametrize("text", ["[::1]:2222", "h1:2222", "büro", "10.0.0.1:22"])
def test_a_host_is_shown_as_it_was_written(text):
    (host,) = parse_hosts(text)
    assert str(host) == text


UNSAFE = [f"a{letter}b" for letter in "'\"`$\\;&<|({*?!#~/\x00\x1b\u00a0\u200b\u2028"]


@pytest.mark.parametrize("text", [*UNSAFE, "!a", "#a", "~a", ".", "..", "-a", "--"])
def test_what_could_mean_something_to_a_shell_or_terminal_is_refused(text):
    with pytest.raises(UsageError, match="is not valid"):
        parse_hosts(text)


BAD_LISTS = ["", ",", "a b", "h\n1", "node[1-", "node[2-1]", "node[]", "h[1-2]x[1-2", "n[1-9999999999]"]
BAD_HOSTS = ["-oProxyCommand=x", "$(id)", "h1;id", "h1/..", "a" * 300, "[::zz]", "@h1", "bo b@h", "-x@h"]
BAD_PORTS = ["h1:0", "h1:65536", "h1:x", "h1:", "[::1]:0"]


@pytest.mark.parametrize("text", BAD_LISTS + BAD_HOSTS + BAD_PORTS)
def test_what_cannot_be_a_host_is_refused(text):
    with pytest.raises(UsageError):
        parse_hosts(text)


@pytest.mark.parametrize("options", [{"user": "a b"}, {"user": "-l"}, {"port": -1}, {"port": 70000}])
def test_bad_options_are_refused(options):
    with pytest.raises(UsageError):
        parse_hosts("h1", **options)


def test_a_thousand_hosts_are_the_limit():
    assert len(parse_hosts("n[1-1000]")) == 1000
    with pytest.raises(UsageError, match="more than 1000"):
        parse_hosts("n[1-1001]")
