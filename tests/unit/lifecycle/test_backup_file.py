"""The file of a backup: its owner's alone, whole or not there, and told apart from what it is not."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest

from cloudmesh.cluster.core import certificates, encryption
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets
from cloudmesh.cluster.core.encryption import PASSPHRASE, Lock, Opener
from cloudmesh.cluster.core.errors import ClusterError, UsageError
from cloudmesh.cluster.lifecycle import backup_file
from cloudmesh.cluster.lifecycle.backup_file import Backup
from cloudmesh.cluster.providers.base import Snapshot

SECRETS = ClusterSecrets(certificates.new_authority("demo"), {"token": "t0ken"}, certificates.new_authority("w"))
BACKUP = Backup(
    "demo",
    "abc",
    "nomad",
    "1.10.5",
    2,
    ({"name": "one", "node": "one", "address": "10.0.0.1", "role": "server"},),
    ("10.0.0.9",),
    SECRETS,
    Snapshot(b"the state " * 1000, 1795978111.25, ("one",)),
)
NOBODY = Opener()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "demo.backup"


def write(file: Path, lock: Lock | None = None, *, overwrite: bool = False) -> None:
    backup_file.write(file, BACKUP, lock or Lock(), overwrite=overwrite)


def knows(passphrase: str) -> Opener:
    return Opener(lambda: passphrase)


def test_what_was_saved_is_read_again_and_is_the_same_backup(file: Path) -> None:
    write(file)
    again = backup_file.read(file, NOBODY)
    assert again == BACKUP
    assert again.digest == BACKUP.digest
    assert replace(BACKUP, generation=3).digest != BACKUP.digest


def test_only_its_owner_may_read_it_and_nothing_else_is_left(file: Path) -> None:
    write(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_what_is_there_is_written_over_only_where_that_was_said(file: Path) -> None:
    file.write_text("precious")
    with pytest.raises(UsageError, match=r"demo\.backup exists already: .* --yes$"):
        write(file)
    assert (file.read_text(), list(file.parent.iterdir())) == ("precious", [file])
    write(file, overwrite=True)
    assert backup_file.read(file, NOBODY) == BACKUP
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_directory_and_a_place_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a directory: name a file in it$"):
        backup_file.check_new(tmp_path, overwrite=True)
    with pytest.raises(UsageError, match="there is no directory"):
        backup_file.check_new(tmp_path / "no" / "file", overwrite=False)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a file that is encrypted by a passphrase, which takes its second on purpose."""
    file = tmp_path_factory.mktemp("encrypted") / "file"
    write(file, Lock("horse battery"))
    return file.read_bytes()


def test_encrypted_it_shows_no_secret_and_opens_by_the_passphrase_alone(file: Path, encrypted: bytes) -> None:
    file.write_bytes(encrypted)
    content = encrypted
    assert not any(text in content for text in (b"t0ken", b"PRIVATE KEY", b"the state", b"demo", b"horse"))
    assert backup_file.read(file, knows("horse battery")) == BACKUP
    with pytest.raises(ClusterError, match=r"demo\.backup: this passphrase does not open it$"):
        backup_file.read(file, knows("horse"))
    with pytest.raises(UsageError, match=r"encrypted by a passphrase: .* --passphrase-file$"):
        backup_file.read(file, NOBODY)


def test_encrypted_for_a_key_it_opens_by_that_key_alone(file: Path) -> None:
    key, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    write(file, Lock(recipient=str(key.to_public())))
    assert b"t0ken" not in file.read_bytes()
    assert backup_file.read(file, Opener(identity=f"# made by age-keygen\n{key}\n".encode())) == BACKUP
    with pytest.raises(ClusterError, match=r"this key does not open it$"):
        backup_file.read(file, Opener(identity=str(other).encode()))
    with pytest.raises(UsageError, match=r"encrypted for a key: .* --identity$"):
        backup_file.read(file, knows("horse"))
    with pytest.raises(UsageError, match="the file of the private key holds none"):
        backup_file.read(file, Opener(identity=b"# empty\n"))


def test_a_key_of_ssh_opens_it_too(file: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    write(file, Lock(recipient=public))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    assert backup_file.read(file, Opener(identity=private)) == BACKUP


def test_what_is_no_public_key_is_refused_before_anything_is_done() -> None:
    with pytest.raises(UsageError, match=r"^age1nonsense is no public key: "):
        Lock(recipient="age1nonsense").check()
    with pytest.raises(UsageError, match="age takes one of them"):
        Lock("horse battery", "age1nonsense").check()


def test_age_itself_reads_what_follows_the_first_line(file: Path) -> None:
    key = pyrage.x25519.Identity.generate()
    write(file, Lock(recipient=str(key.to_public())))
    _, _, rest = file.read_bytes().partition(b"\n")
    with tarfile.open(fileobj=io.BytesIO(pyrage.decrypt(rest, [key]))) as archive:
        assert archive.getnames() == ["manifest.json", "secrets.json", "snapshot"]


@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda content: content[:-1], r"it was cut off: \d+ of \d+ bytes are there"),
        (lambda content: content[:40], "its first line is damaged or cut off"),
        (lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], "it is damaged, its checksum"),
        (lambda content: content + b"\n", "it is damaged, its checksum"),
        (lambda content: content.replace(b"backup 1 ", b"backup 7 ", 1), "a later version of cms cluster wrote it"),
        (lambda _: b"", "it is no backup of a cluster"),
        (lambda _: b"\x7fELF" * 100, "it is no backup of a cluster"),
    ],
)
def test_cut_off_damaged_and_foreign_files_are_told_from_a_wrong_passphrase(
    file: Path, encrypted: bytes, is_encrypted: bool, spoil: Callable[[bytes], bytes], cause: str
) -> None:
    write(file)
    file.write_bytes(spoil(encrypted if is_encrypted else file.read_bytes()))
    with pytest.raises(ClusterError, match=rf"demo\.backup: {cause}"):
        backup_file.read(file, knows("horse battery"))


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    with pytest.raises(UsageError, match=r"demo\.backup cannot be read: No such file or directory$"):
        backup_file.read(file, NOBODY)


def test_a_machine_that_is_too_slow_for_a_passphrase_is_told_from_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "_SLOW_TRIES", 1)
    # What was encrypted on a machine that does 2^30 rounds in a second.
    header = "age-encryption.org/v1\n-> scrypt XRbksaJimrpfIsTrDlGApA 30\nBiRXYI4CFh3QzRYySP8/3K/zfLVtFMOPwV4IejCODdM\n"
    data = f"{header}--- H+m5+EhnXnCOEfH+m5+EhnXnCOEfH+m5+EhnXnCOEfo\n".encode() + bytes(40)
    with pytest.raises(
        ClusterError, match=r"^the passphrase was not tried, as this machine would need too long for it"
    ):
        Opener(lambda: "right").open(data, PASSPHRASE)
