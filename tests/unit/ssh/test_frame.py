"""What is ours in the output of a login shell."""

import pytest

from cloudmesh.cluster.ssh.frame import ErrorFrame, Frame, make_token

TOKEN = "cms-0123456789abcdef"  # noqa: S105 - of no real command


def passed(frame: Frame, stream: bytes, sizes: list[int]) -> bytes:
    """Return what the frame makes of a stream that arrives in pieces of these sizes, and then as a whole."""
    content = b""
    for size in sizes:
        content += frame.feed(stream[:size])
        stream = stream[size:]
    return content + frame.feed(stream) + frame.finish()


@pytest.mark.parametrize("before", [b"", b"Welcome\n", b"no newline", TOKEN.encode()[:-1], b"cms-\n" * 3000])
@pytest.mark.parametrize("after", [b"", b"bye", b"\n" + TOKEN.encode() + b"-9\n"])
@pytest.mark.parametrize("content", [b"", b"\0\n", b"a line\n", TOKEN.encode(), b"x\ncms-cms-0123", bytes(range(256))])
def test_what_is_between_the_markers_is_passed_on_byte_for_byte(before, content, after):
    stream = before + f"{TOKEN}+\n".encode() + content + f"{TOKEN}-17\n".encode() + after
    for sizes in ([], [1] * len(stream), [3, 40, 1, 17] * 20):
        frame = Frame(TOKEN)
        assert passed(frame, stream, sizes) == content
        assert (frame.began, frame.status) == (True, 17)
        assert frame.preamble == before[:4096]


def test_a_line_is_passed_on_as_soon_as_it_is_there():
    frame = Frame(TOKEN)
    assert frame.feed(f"{TOKEN}+\n::step one\n".encode()) == b"::step one\n"
    assert frame.feed(b"cms-0") == b""
    assert frame.feed(b"!") == b"cms-0!"


def test_a_stream_that_breaks_off_has_no_status():
    frame = Frame(TOKEN)
    assert passed(frame, f"{TOKEN}+\nhalf{TOKEN}".encode(), []) == f"half{TOKEN}".encode()
    assert frame.status is None


def test_of_a_shell_that_ran_nothing_its_words_are_kept():
    frame = Frame(TOKEN)
    assert passed(frame, b"This account is currently not available.\ncms-0", []) == b""
    assert not frame.began
    assert frame.preamble == b"This account is currently not available.\ncms-0"


def test_errors_of_the_shell_are_told_from_ours():
    errors = ErrorFrame(TOKEN, 100)
    for piece in (b"from .bash", f"rc\n{TOKEN}e+\nour cause\n{TOKEN}".encode(), b"e-1\n", b"from a trap\n"):
        errors.feed(piece)
    assert errors.content == b"our cause\n"


def test_of_many_errors_the_last_are_kept():
    errors = ErrorFrame(TOKEN, 100)
    errors.feed(f"noise {TOKEN}e+\n".encode())
    for number in range(100):
        errors.feed(b"%d\n" % number)
    assert errors.content.endswith(b"98\n99\n")
    assert len(errors.content) == 100


def test_tokens_cannot_be_foreseen():
    assert len({make_token() for _ in range(100)}) == 100
    assert len(make_token()) >= 32
