"""What is wrong with the words of backup and restore is said before any host is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cms import run_in_process

from cloudmesh.cluster.cluster import Cluster


@pytest.fixture(autouse=True)
def reached(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Return with which options a backup would be made."""
    calls: list[dict[str, object]] = []
    monkeypatch.setattr(Cluster, "backup", lambda _, path, **options: calls.append({"path": path, **options}))
    return calls


def test_the_passphrase_is_the_first_line_of_a_file(reached: list[dict[str, object]], tmp_path: Path) -> None:
    secret, file = tmp_path / "secret", tmp_path / "demo.backup"
    secret.write_text("horse battery\nanother line\n")
    assert run_in_process("backup", "-n", "demo", f"--passphrase-file={secret}", str(file)) == 0
    assert reached == [{"path": file, "passphrase": "horse battery", "recipient": "", "overwrite": False}]


def test_a_file_is_written_over_only_with_yes(reached: list[dict[str, object]], tmp_path: Path) -> None:
    file = tmp_path / "demo.backup"
    file.touch()
    for words in ((), ("--yes",)):
        assert run_in_process("backup", "-n", "demo", *words, str(file)) == 0
    assert [call["overwrite"] for call in reached] == [False, True]


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("--passphrase",), "--passphrase is asked for on a terminal, and there is none: use --passphrase-file=FILE"),
        (("--passphrase-file=missing",), "missing cannot be read: No such file or directory"),
        (("--passphrase-file=empty",), "empty holds no passphrase: it is the first line"),
        (("--passphrase-file=empty", "--recipient=age1x"), "the arguments do not fit 'backup'"),
    ],
)
def test_a_passphrase_that_is_not_to_be_had_is_said(
    reached: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: tuple[str, ...],
    cause: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text("\n")
    assert run_in_process("backup", "-n", "demo", *words, "demo.backup") == 2
    assert cause in capsys.readouterr().err
    assert reached == []


@pytest.mark.parametrize("words", [("missing",), ("--identity=missing", "file")])
def test_a_file_that_is_not_there_is_named_by_restore(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(b"")
    assert run_in_process("restore", "-n", "demo", *words) == 2
    assert "missing cannot be read: No such file or directory" in capsys.readouterr().err
