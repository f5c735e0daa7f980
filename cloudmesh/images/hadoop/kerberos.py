"""Makes a Kerberos realm for a job, with a single principal: who has the job's secret can act as the principal.

Every process of the job, and every client of a service, is `cms/job@CMS`. Each task computes the principal's key from
the secret, so that no key has to be distributed. The KDC runs beside the NameNode and uses TCP only.

`kerberos.py FOLDER` writes what a client of a service needs, from CMS_HADOOP_SECRET and CMS_HADOOP_KDC (HOST:PORT).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import struct
import subprocess
import sys
from pathlib import Path

REALM = "CMS"
PRINCIPAL = f"cms/job@{REALM}"
# The principal for web pages. The KDC does not know it, so there are no tickets for it, and nobody has access.
WEB_PRINCIPAL = f"HTTP/job@{REALM}"
_CIPHER = "aes256-cts-hmac-sha384-192"
_CIPHER_NUMBER = 20
_ROUNDS = 32768
_BYTES = 32


def password(secret: str) -> str:
    """Return the principal's password, which is derived from the secret: that serves other purposes, too."""
    return hmac.new(secret.encode(), b"cms kerberos password", hashlib.sha256).hexdigest()


def key(password: str, salt: bytes) -> bytes:
    """Return the key for a password according to RFC 8009 (string-to-key, with HMAC-SHA-384)."""
    temporary = hashlib.pbkdf2_hmac("sha384", password.encode(), _CIPHER.encode() + b"\0" + salt, _ROUNDS, _BYTES)
    label = struct.pack(">I", 1) + b"kerberos" + b"\0" + struct.pack(">I", _BYTES * 8)
    return hmac.new(temporary, label, hashlib.sha384).digest()[:_BYTES]


def keytab(secret: str) -> bytes:
    """Return the keytab for a process of the job."""
    principal_key = key(password(secret), REALM.encode() + b"cmsjob")
    return b"\x05\x02" + _entry(PRINCIPAL, principal_key) + _entry(WEB_PRINCIPAL, secrets.token_bytes(_BYTES))


def _entry(principal: str, principal_key: bytes) -> bytes:
    """Return an entry of a keytab: its length, the principal, and the key."""
    name, _, realm = principal.partition("@")
    parts = name.split("/")
    entry = struct.pack(">H", len(parts)) + b"".join(_counted(part.encode()) for part in (realm, *parts))
    entry += struct.pack(">IIBH", 1, 0, 1, _CIPHER_NUMBER) + _counted(principal_key)
    return struct.pack(">i", len(entry)) + entry


def _counted(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def configuration(kdc: str) -> str:
    """Return krb5.conf for clients and servers, with the KDC at HOST:PORT. They look up no names."""
    return f"""[libdefaults]
default_realm = {REALM}
dns_lookup_kdc = false
dns_lookup_realm = false
dns_canonicalize_hostname = false
rdns = false
udp_preference_limit = 1
permitted_enctypes = {_CIPHER}
default_tkt_enctypes = {_CIPHER}
default_tgs_enctypes = {_CIPHER}
[realms]
{REALM} = {{
  kdc = {kdc}
}}
"""


def write(path: Path, content: bytes) -> None:
    """Write a file that only this user can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def enter(folder: Path, secret: str, kdc: str) -> dict[str, str]:
    """Write what a process needs to act as the job's principal, and return the environment variables for it.

    In the image, /etc/krb5.conf is a link to krb5.conf in `folder`, so programs that the process starts find it, too.
    """
    write(folder / "krb5.conf", configuration(kdc).encode())
    write(folder / "keytab", keytab(secret))
    return {"KRB5PRINCIPAL": PRINCIPAL, "KRB5KEYTAB": str(folder / "keytab")}


def service(folder: Path, secret: str, address: str) -> tuple[list[str], dict[str, str]]:
    """Make a new database for the KDC; return the command and environment of a KDC that listens on HOST:PORT.

    The database contains only the job's principal, and is made anew at each start.
    """
    write(folder / "kdc.conf", _kdc_configuration(folder, address).encode())
    environment = {**os.environ, "KRB5_KDC_PROFILE": str(folder / "kdc.conf")}
    for database in folder.glob("principal*"):
        database.unlink()
    master = secrets.token_hex(_BYTES)
    # Passwords are passed by stdin, since others can read arguments.
    _run(["/usr/sbin/kdb5_util", "-r", REALM, "create", "-s"], f"{master}\n{master}\n", environment)
    request = f"addprinc -e {_CIPHER}:normal -pw {password(secret)} cms/job\n"
    _run(["/usr/sbin/kadmin.local", "-r", REALM], request, environment)
    return ["/usr/sbin/krb5kdc", "-n", "-r", REALM], environment


def _run(command: list[str], answers: str, environment: dict[str, str]) -> None:
    """Run a command with `answers` as its input; SystemExit where it fails."""
    completed = subprocess.run(command, input=answers.encode(), env=environment, capture_output=True, check=False)  # noqa: S603
    if completed.returncode:
        raise SystemExit(f"hadoop: {command[0]}: {completed.stderr.decode().strip()}")


def _kdc_configuration(folder: Path, address: str) -> str:
    return f"""[kdcdefaults]
kdc_listen = ""
kdc_tcp_listen = {address}
[realms]
{REALM} = {{
  database_name = {folder}/principal
  key_stash_file = {folder}/stash
  master_key_type = {_CIPHER}
  supported_enctypes = {_CIPHER}:normal
  default_principal_flags = +preauth
  max_life = 24h
}}
[logging]
kdc = FILE:/dev/null
"""


_CLIENT = """<configuration>
<property><name>hadoop.security.authentication</name><value>kerberos</value></property>
<property><name>hadoop.rpc.protection</name><value>privacy</value></property>
</configuration>
"""


def main() -> None:
    """Write the folder of a client."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    enter(folder, os.environ["CMS_HADOOP_SECRET"], os.environ["CMS_HADOOP_KDC"])
    # Java programs read this file before they get any other settings.
    write(folder / "core-site.xml", _CLIENT.encode())


if __name__ == "__main__":
    main()
