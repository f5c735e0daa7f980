"""Where `ssh -o BatchMode=yes` gets in, so do we, by the same files; where it does not, neither do we. A real sshd."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.sshd import (
    MARKS,
    ONLY_OPENSSH,
    Sshd,
    encrypt_key,
    home,
    installed,
    keygen,
    make_key,
    make_rsa_key,
    run_agent,
)

from cloudmesh.cluster.core.context import SshSettings
from cloudmesh.cluster.core.errors import ClusterError
from cloudmesh.cluster.core.model import Host
from cloudmesh.cluster.ssh import openssh_config
from cloudmesh.cluster.ssh.connect import connect

__all__ = ["home"]
pytestmark = [*MARKS, pytest.mark.skipif(not installed("ssh"), reason="no OpenSSH client on this machine")]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Sshd(tmp_path_factory.mktemp("plain")) as server:
        yield server


@dataclass
class Place:
    """The operator's home with an sshd beside it, as a case finds it."""

    home: Path
    server: Sshd
    stack: ExitStack
    monkeypatch: pytest.MonkeyPatch

    @property
    def ssh(self) -> Path:
        return self.home / ".ssh"

    @property
    def key(self) -> Path:
        return self.server.client_key

    def know(self, *names: str, key: str = "", file: str = ".ssh/known_hosts") -> None:
        with (self.home / file).open("a") as known:
            for name in names or (f"[127.0.0.1]:{self.server.port}",):
                known.write(f"{name} {key or self.server.host_key}\n")

    def config(self, text: str, file: str = ".ssh/config", *, reachable: bool = True) -> None:
        if reachable:
            text += f"\nHost *\n HostName 127.0.0.1\n Port {self.server.port}\n User root\n"
        (self.home / file).parent.mkdir(exist_ok=True)
        (self.home / file).write_text(text)

    def copy_key(self, name: str, mode: int = 0o600) -> Path:
        path = self.ssh / name
        shutil.copy(self.key, path)
        path.chmod(mode)
        return path

    def start(self, *options: str, **fields: str) -> Sshd:
        self.server = self.stack.enter_context(Sshd(self.home / "sshd", *options, **fields))
        return self.server

    def agent(self, *keys: Path, variable: str = "SSH_AUTH_SOCK") -> Path:
        path = self.home / f"agent-{variable}"
        self.stack.enter_context(run_agent(path, *keys))
        self.monkeypatch.setenv(variable, str(path))
        return path


@pytest.fixture
def place(home, server, monkeypatch):
    with ExitStack() as stack:
        yield Place(home, server, stack, monkeypatch)


def openssh_gets_in(name: str) -> bool:
    command = ["ssh", "-o", "BatchMode=yes", name, "echo in"]
    outcome = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    return outcome.stdout == "in\n"


def we_get_in(name: str, home: Path) -> bool | str:
    openssh_config.ask.cache_clear()
    try:
        with connect(Host(name), SshSettings(home / "our_known_hosts")) as connection:
            return connection.run("cat; echo in; echo err >&2").output == "in"
    except ClusterError as error:
        return str(error)


# --- cases: each prepares the place; the host is called "srv1"

Case = Callable[[Place], None]
CASES: dict[str, tuple[Case, bool]] = {}


def case(gets_in: bool = True) -> Callable[[Case], Case]:
    def register(prepare: Case) -> Case:
        CASES[prepare.__name__] = (prepare, gets_in)
        return prepare

    return register


@case()
def proxy_command_none(place):
    place.know()
    place.config(f"Host srv1\n ProxyCommand none\n ProxyJump none\n IdentityFile {place.key}\n")


@case()
def comments_after_values(place):
    place.know()
    place.config(f"Host srv1 # the one\n IdentityFile {place.key} # odd\n User root # it's\n")


@case(gets_in=False)
def a_name_in_a_comment_after_host(place):
    place.know()
    place.config(f"Host zz # srv1 and more\n IdentityFile {place.key}\n")


@case()
def a_remote_command_of_the_users(place):
    place.know()
    place.config(f"Match exec true\n IdentityFile {place.key}\nHost other\n RemoteCommand tmux\n")


@case()
def include_with_a_comment_that_has_a_quote(place):
    place.know()
    place.config(f"Host srv1\n IdentityFile {place.key}\n", file="my.conf", reachable=False)
    place.config("Include ~/my.conf # it's\n")


@case()
def include_by_variable_and_token(place):
    place.know()
    place.monkeypatch.setenv("DIR", str(place.home / "more"))
    place.config(f"Host srv1\n IdentityFile {place.key}\n", file="more/x", reachable=False)
    place.config("Include %d/more/x\n") if _version() >= (9, 9) else place.config("Include ~/more/x\n")


@case()
def a_folder_among_included_files(place):
    place.know()
    (place.ssh / "conf.d" / "folder").mkdir(parents=True)
    place.config(f"Host srv1\n IdentityFile {place.key}\n", file=".ssh/conf.d/x", reachable=False)
    place.config("Include conf.d/*\n")


@case()
def a_host_block_of_an_included_file_within_another_block(place):
    place.know()
    place.config("Host *\n User nobody\n Port 1\n", file=".ssh/more", reachable=False)
    place.config(f"Host other\n Include more\nHost srv1\n IdentityFile {place.key}\n")


@case()
def match_exec_in_quotes_and_with_equals(place):
    place.know()
    place.config(f"Match host=srv1 exec='true'\n IdentityFile {place.key}\n")


@case()
def match_final(place):
    place.know()
    place.config(f"Match final all\n IdentityFile {place.key}\n")


@case()
def match_that_does_not_apply(place):
    place.know()
    place.config(f"Match exec false\n User nobody\nMatch !all\n User nobody\nHost srv1\n IdentityFile {place.key}\n")


@case()
def tokens_in_a_key_file(place):
    place.know()
    place.copy_key("k-srv1-root-127.0.0.1")
    place.config("Host srv1\n IdentityFile %d/.ssh/k-%n-%r-%h\n")


@case()
def tokens_of_names_in_a_key_file(place):
    place.know()
    place.copy_key(f"k-srv1-{socket.gethostname().partition('.')[0]}-{os.getuid()}")
    place.config("Host srv1\n IdentityFile ~/.ssh/k-%k-%L-%i\n")


@case()
def a_variable_in_a_key_file(place):
    place.know()
    place.monkeypatch.setenv("WHICH", "mine")
    place.copy_key("mine")
    place.config("Host srv1\n IdentityFile ~/.ssh/${WHICH}\n")


@case(gets_in=False)
def a_variable_that_is_not_set(place):
    place.know()
    place.copy_key("id_ed25519")
    place.config("Host srv1\n IdentityFile ~/.ssh/${NO_SUCH_VARIABLE}\n")


@case()
def a_key_file_of_a_named_users_home(place):
    place.know()
    user_home = Path("~root").expanduser()
    place.config(f"Host srv1\n IdentityFile ~root/{os.path.relpath(place.key, user_home)}\n")


@case()
def a_key_file_with_a_blank(place):
    place.know()
    place.copy_key("my key")
    place.config("Host srv1\n IdentityFile '~/.ssh/my key'\n")


@case()
def a_known_hosts_file_with_a_blank(place):
    place.know(file="my hosts")
    place.config(f'Host srv1\n UserKnownHostsFile "~/my hosts"\n IdentityFile {place.key}\n')


@case()
def known_hosts_files_with_tokens(place):
    place.know(file="hosts-srv1")
    place.config(f"Host srv1\n UserKnownHostsFile /dev/null %d/hosts-%n\n IdentityFile {place.key}\n")


@case()
def a_known_hosts_file_by_a_variable(place):
    place.know(file="mine")
    place.monkeypatch.setenv("MINE", str(place.home / "mine"))
    place.config(f"Host srv1\n UserKnownHostsFile ${{MINE}}\n IdentityFile {place.key}\n")


@case()
def a_global_known_hosts_file(place):
    place.know(file="global")
    place.config(f"Host srv1\n GlobalKnownHostsFile {place.home}/global\n IdentityFile {place.key}\n")


@case()
def a_bind_address(place):
    place.know()
    place.config(f"Host srv1\n BindAddress 127.0.0.3\n IdentityFile {place.key}\n")


def through_gate(place: Place) -> str:
    """Write the configuration of a jump host; return the command that leads through it."""
    place.config(f"IdentityFile {place.key}\n", file="gate")
    return f"ssh -F {place.home}/gate -W 127.0.0.1:{place.server.port} gate"


@case()
def a_proxy_command_with_the_original_name(place):
    place.know()
    through = through_gate(place)
    place.config(f"Host srv1\n ProxyCommand sh -c 'test %n = srv1 && {through}'\n IdentityFile {place.key}\n")


@case()
def a_proxy_command_that_passes_a_socket_on(place):
    place.know()
    code = "import socket, sys; s = socket.create_connection(sys.argv[1:]); "
    code += "o = socket.socket(fileno=1); socket.send_fds(o, [b'x'], [s.fileno()])"
    (place.home / "pass.py").write_text(code)
    proxy = f"{sys.executable} {place.home}/pass.py %h %p"
    place.config(f"Host srv1\n ProxyUseFdpass yes\n ProxyCommand {proxy}\n IdentityFile {place.key}\n")


@case()
def a_remote_command_and_forwardings_of_the_users(place):
    place.know()
    text = f"Host srv1\n LocalForward {place.server.port} localhost:22\n ExitOnForwardFailure yes\n"
    place.config(f"{text} RequestTTY force\n LocalCommand false\n PermitLocalCommand yes\n IdentityFile {place.key}\n")


@case()
def the_same_by_openssh_s_client(place):
    place.start(ONLY_OPENSSH)
    place.know()
    text = f"Host srv1\n DynamicForward {place.server.port}\n ForkAfterAuthentication yes\n ControlMaster auto\n"
    place.config(f"{text} LogLevel QUIET\n ServerAliveInterval 1\n IdentityFile {place.key}\n")


@case()
def a_jump_host(place):
    place.know()
    place.config(f"Host gate\n IdentityFile {place.key}\nHost srv1\n ProxyJump gate\n IdentityFile {place.key}\n")


@case(gets_in=False)
def an_option_that_ssh_does_not_know(place):
    place.know()
    place.config(f"Host srv1\n Nonsense yes\n IdentityFile {place.key}\n")


@case(gets_in=False)
def a_port_that_is_none(place):
    place.config(f"Host srv1\n Port 99999\n IdentityFile {place.key}\n")


@case()
def matches_by_name_and_user(place):
    place.know()
    text = f"Match originalhost srv1 user root\n IdentityFile {place.key}\nMatch host 127.0.0.1 user bob\n Port 1\n"
    place.config(f"Host srv* !srv1\n User nobody\n{text}")


@case()
def options_that_say_nothing_of_the_way(place):
    place.know()
    text = "AddressFamily inet\n CheckHostIP yes\n Compression yes\n SendEnv LANG\n SetEnv A=b\n EscapeChar none\n"
    place.config(f"Host srv1\n {text} LogLevel DEBUG3\n ConnectionAttempts 2\n IdentityFile {place.key}\n")


@case()
def options_to_ignore_where_openssh_s_client_connects(place):
    place.start(ONLY_OPENSSH)
    place.know()
    place.config(f"IgnoreUnknown UseKeychain\nHost srv1\n UseKeychain yes\n IdentityFile {place.key}\n")


@case()
def a_proxy_command_that_opens_its_stdin(place):
    place.know()
    place.config(f"Host srv1\n ProxyCommand sh -c '{through_gate(place)} </dev/stdin'\n IdentityFile {place.key}\n")


@case()
def a_host_that_is_up_at_the_second_attempt(place):
    server = place.start()
    place.know()
    server.stop()
    threading.Timer(0.5, server.start).start()
    place.config(f"Host srv1\n ConnectionAttempts 9\n IdentityFile {place.key}\n")


@case()
def a_name_that_is_completed(place):
    place.know()
    text = "CanonicalizeHostname always\n CanonicalDomains invalid\n CanonicalizeFallbackLocal yes\n"
    place.config(f"Host srv1\n {text} IdentityFile {place.key}\n")


# --- keys and agents


@case()
def an_agent_by_path(place):
    place.know()
    path = place.agent(place.key, variable="UNUSED")
    place.config(f"Host srv1\n IdentityAgent {path}\n")


@case()
def an_agent_by_variable(place):
    place.know()
    place.agent(place.key, variable="MY_AGENT")
    place.config("Host srv1\n IdentityAgent $MY_AGENT\n")


@case(gets_in=False)
def no_agent(place):
    place.know()
    place.agent(place.key)
    place.config("Host srv1\n IdentityAgent none\n")


@case()
def a_public_key_file_whose_private_half_the_agent_has(place):
    place.know()
    make_key(place.ssh / "other")
    place.agent(place.ssh / "other", place.key)
    place.config(f"Host srv1\n IdentitiesOnly yes\n IdentityFile {place.key}.pub\n")


@case()
def an_encrypted_key_without_its_public_file_that_the_agent_has(place):
    place.know()
    place.agent(place.key)
    path = place.copy_key("mine")
    encrypt_key(path, "secret")
    place.config(f"Host srv1\n IdentitiesOnly yes\n IdentityFile {path}\n")


@case(gets_in=False)
def an_encrypted_key(place):
    place.know()
    encrypt_key(place.copy_key("mine"), "secret")
    place.config("Host srv1\n IdentityFile ~/.ssh/mine\n")


@case()
def a_key_in_pkcs8(place):
    public = make_rsa_key(place.ssh / "rsa8")
    keygen("-p", "-m", "PKCS8", "-N", "", "-f", place.ssh / "rsa8")
    place.start(authorized=public)
    place.know()
    place.config("Host srv1\n IdentityFile ~/.ssh/rsa8\n")


@case()
def a_key_in_pem(place):
    keygen("-t", "ecdsa", "-m", "PEM", "-N", "", "-C", "", "-f", place.ssh / "ec")
    place.start(authorized=(place.ssh / "ec.pub").read_text())
    place.know()
    place.config("Host srv1\n IdentityFile ~/.ssh/ec\n")


@case(gets_in=False)
def a_key_file_that_others_may_read(place):
    place.know()
    place.copy_key("mine", 0o644)
    place.config("Host srv1\n IdentityFile ~/.ssh/mine\n")


@case(gets_in=False)
def no_key_file(place):
    place.know()
    place.copy_key("id_ed25519")
    place.config("Host srv1\n IdentityFile none\n")


@case(gets_in=False)
def no_login_by_key(place):
    place.know()
    place.config(f"Host srv1\n PubkeyAuthentication no\n IdentityFile {place.key}\n")


@case()
def a_default_key_file(place):
    place.know()
    place.copy_key("id_ecdsa")
    place.config("Host srv1\n")


@case()
def a_default_key_file_of_a_security_key_s_name(place):
    place.know()
    place.copy_key("id_ed25519_sk")
    place.config("Host srv1\n")


def sign(place: Place, key: Path, name: str) -> None:
    """Have an authority sign a key, and an sshd believe it."""
    make_key(place.home / "ca")
    keygen("-s", place.home / "ca", "-I", "me", "-n", "root", key)
    certificate = key.with_name(key.name.removesuffix(".pub") + "-cert.pub")
    certificate.rename(place.ssh / name)
    nobody = make_key(place.home / "nobody")
    place.start(f"TrustedUserCAKeys {place.home}/ca.pub", authorized=nobody)
    place.know()


@case()
def a_certificate_beside_its_key(place):
    make_key(place.ssh / "mine")
    sign(place, place.ssh / "mine.pub", "mine-cert.pub")
    place.config("Host srv1\n IdentityFile ~/.ssh/mine\n")


@case()
def a_certificate_file(place):
    make_key(place.ssh / "mine")
    sign(place, place.ssh / "mine.pub", "certificate")
    place.config("Host srv1\n IdentityFile ~/.ssh/mine\n CertificateFile ~/.ssh/certificate\n")


@case()
def a_certificate_of_an_rsa_key(place):
    make_rsa_key(place.ssh / "mine")
    sign(place, place.ssh / "mine.pub", "mine-cert.pub")
    place.config("Host srv1\n IdentityFile ~/.ssh/mine\n")


@case()
def a_certificate_whose_key_the_agent_has(place):
    make_key(place.ssh / "mine")
    sign(place, place.ssh / "mine.pub", "certificate")
    place.agent(place.ssh / "mine")
    place.config("Host srv1\n CertificateFile ~/.ssh/certificate\n")


@case()
def two_keys_one_after_the_other(place):
    keys = [make_key(place.ssh / name) for name in ("one", "two")]
    place.start("AuthenticationMethods publickey,publickey", authorized="\n".join(keys))
    place.know()
    place.config("Host srv1\n IdentityFile ~/.ssh/one\n IdentityFile ~/.ssh/two\n")


@case()
def a_certificate_in_the_agent(place):
    make_key(place.ssh / "mine")
    sign(place, place.ssh / "mine.pub", "mine-cert.pub")
    place.agent(place.ssh / "mine")
    place.config("Host srv1\n IdentityFile none\n")


@case()
def a_default_key_that_the_agent_has_and_no_other_of_the_agent(place):
    make_key(place.ssh / "other")
    place.know()
    place.agent(place.ssh / "other", place.key)
    encrypt_key(place.copy_key("id_ed25519"), "secret")
    place.config("Host srv1\n IdentitiesOnly yes\n")


# --- host keys


@case()
def unknown_host_keys_accepted(place):
    place.config(f"Host srv1\n StrictHostKeyChecking accept-new\n IdentityFile {place.key}\n")


@case()
def host_keys_not_checked(place):
    place.config(f"Host srv1\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n IdentityFile {place.key}\n")


@case(gets_in=False)
def an_unknown_host_key(place):
    place.config(f"Host srv1\n IdentityFile {place.key}\n")


@case(gets_in=False)
def a_changed_host_key(place):
    place.know(key=make_key(place.home / "old"))
    place.config(f"Host srv1\n StrictHostKeyChecking accept-new\n IdentityFile {place.key}\n")


@case()
def a_known_host_without_its_port(place):
    place.know("127.0.0.1")
    place.config(f"Host srv1\n IdentityFile {place.key}\n")


@case(gets_in=False)
def a_host_key_revoked_without_its_port(place):
    place.know()
    place.know("@revoked *")
    place.config(f"Host srv1\n IdentityFile {place.key}\n")


def certify_host(place: Place) -> str:
    """Start an sshd with a host certificate, and return the authority's public key."""
    authority = make_key(place.home / "ca")
    host_key = place.home / "certified"
    make_key(host_key)
    keygen("-s", place.home / "ca", "-I", "host", "-h", "-n", "127.0.0.1", f"{host_key}.pub")
    place.start(f"HostKey {host_key}", f"HostCertificate {host_key}-cert.pub")
    return authority


@case()
def an_authority_of_host_keys(place):
    place.know("@cert-authority *", key=certify_host(place))
    place.config(f"Host srv1\n IdentityFile {place.key}\n")


@case(gets_in=False)
def a_revoked_authority_of_a_known_key(place):
    authority = certify_host(place)
    place.know(key=(place.home / "certified.pub").read_text().strip())
    place.know("@cert-authority *", "@revoked *", key=authority)
    place.config(f"Host srv1\n IdentityFile {place.key}\n")


@case()
def an_authority_beside_an_old_entry(place):
    authority = certify_host(place)
    place.know(key=make_key(place.home / "old"))
    place.know("@cert-authority *", key=authority)
    place.config(f"Host srv1\n IdentityFile {place.key}\n")


@case()
def a_command_that_knows_host_keys(place):
    place.know(file="known")
    place.config(f"Host srv1\n KnownHostsCommand /bin/cat {place.home}/known\n IdentityFile {place.key}\n")


@case(gets_in=False)
def a_command_for_host_keys_that_fails(place):
    place.know()
    place.config(f"Host srv1\n KnownHostsCommand /bin/false\n IdentityFile {place.key}\n")


@case(gets_in=False)
def a_host_key_in_the_file_of_revoked_keys(place):
    place.know()
    (place.home / "revoked").write_text(f"{place.server.host_key}\n")
    place.config(f"Host srv1\n RevokedHostKeys {place.home}/revoked\n IdentityFile {place.key}\n")


@case()
def another_host_key_in_the_file_of_revoked_keys(place):
    place.know()
    (place.home / "revoked").write_text(f"{make_key(place.home / 'old')}\n")
    place.config(f"Host srv1\n RevokedHostKeys {place.home}/revoked\n IdentityFile {place.key}\n")


@case()
def a_loopback_address_whose_keys_do_not_count(place):
    place.config(f"Host srv1\n NoHostAuthenticationForLocalhost yes\n IdentityFile {place.key}\n")


@case(gets_in=False)
def entries_whose_keys_are_none(place):
    kind, data = place.server.host_key.split()
    place.know(key=f"{kind} {data}#cut")
    place.know(key=f"{kind} {data}=")
    place.know(key=f"ssh-rsa {data}")
    place.config(f"Host srv1\n IdentityFile {place.key}\n")


@case(gets_in=False)
def an_entry_within_a_comment_where_others_than_openssh_end_lines(place):
    for character in "\v\f\x1c\x85\u2028":
        place.know(f"# a{character}[127.0.0.1]:{place.server.port}")
    place.config(f"Host srv1\n IdentityFile {place.key}\n")


@case()
def a_hashed_entry_with_its_port_and_carriage_returns(place):
    place.know()
    known = place.ssh / "known_hosts"
    keygen("-H", "-f", known)
    known.write_text(known.read_text().replace("\n", "\r\n"))
    place.config(f"Host srv1\n IdentityFile {place.key}\n")


@case()
def an_alias_of_the_host_key(place):
    place.know("the-key", file=".ssh/known_hosts")
    place.config(f"Host srv1\n HostKeyAlias the-key\n IdentityFile {place.key}\n")


@case(gets_in=False)
def a_key_known_for_another_port_only(place):
    place.know("[127.0.0.1]:1")
    place.config(f"Host srv1\n IdentityFile {place.key}\n")


# --- what paramiko does not speak


def restricted(option: str) -> Case:
    def prepare(place: Place) -> None:
        place.start(option)
        place.know()
        place.config(f"Host srv1\n IdentityFile {place.key}\n")

    return prepare


for _option in (
    "KexAlgorithms sntrup761x25519-sha512@openssh.com",
    "KexAlgorithms diffie-hellman-group18-sha512",
    "KexAlgorithms curve25519-sha256",
    ONLY_OPENSSH,
    "MACs umac-128-etm@openssh.com",
    "MaxSessions 1",
    "AuthenticationMethods publickey",
):
    CASES[_option] = (restricted(_option), True)


def allowing(option: str) -> Case:
    def prepare(place: Place) -> None:
        place.know()
        place.config(f"Host srv1\n {option}\n IdentityFile {place.key}\n")

    return prepare


for _option, _gets_in in {
    "KexAlgorithms diffie-hellman-group18-sha512": True,
    "KexAlgorithms diffie-hellman-group1-sha1": False,
    "Ciphers ^aes256-ctr": True,
    "Ciphers aes128-cbc": False,
    "MACs hmac-md5": True,  # the cipher that is agreed on needs none
    "HostKeyAlgorithms rsa-sha2-512": False,
    "PubkeyAcceptedAlgorithms rsa-sha2-512": False,
    "PreferredAuthentications password": False,
    "PreferredAuthentications password,publickey": True,
    "RequiredRSASize 4096": True,
    "AddressFamily inet": True,
    "AddressFamily inet6": False,
    "BindInterface lo": True,
    "BindInterface nothing0": False,
}.items():
    CASES[f"allowing {_option}"] = (allowing(_option), _gets_in)


@case(gets_in=False)
def an_old_cipher_unasked_for(place):
    restricted("Ciphers aes128-cbc")(place)


@case(gets_in=False)
def a_host_key_that_is_too_short(place):
    public = make_rsa_key(place.home / "rsa")
    restricted(f"HostKey {place.home}/rsa")(place)
    place.know(key=public)
    text = "RequiredRSASize 4096\n HostKeyAlgorithms rsa-sha2-512\n"
    place.config(f"Host srv1\n {text} IdentityFile {place.key}\n")


@case(gets_in=False)
def a_key_that_is_too_short(place):
    place.start(authorized=make_rsa_key(place.ssh / "rsa"))
    place.know()
    place.config("Host srv1\n RequiredRSASize 4096\n IdentityFile ~/.ssh/rsa\n")


@case()
def sha_1_where_the_user_asks_for_it(place):
    public = make_rsa_key(place.home / "old_host_key")
    place.start(f"HostKey {place.home}/old_host_key", "HostKeyAlgorithms ssh-rsa")
    place.know(key=public)
    place.config(f"Host srv1\n HostKeyAlgorithms +ssh-rsa\n IdentityFile {place.key}\n")


@case(gets_in=False)
def sha_1_unasked_for(place):
    public = make_rsa_key(place.home / "old_host_key")
    place.start(f"HostKey {place.home}/old_host_key", "HostKeyAlgorithms ssh-rsa")
    place.know(key=public)
    place.config(f"Host srv1\n IdentityFile {place.key}\n")


def keep_open(place: Place, text: str) -> None:
    """Open a connection to srv1 that stays."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # the path of a socket must be short
    place.stack.callback(shutil.rmtree, folder)
    place.config(f"{text}\nHost srv1\n ControlPath {folder}/%C\n")
    master = subprocess.Popen(["ssh", "-M", "-N", "-o", "BatchMode=yes", "srv1"])
    place.stack.callback(master.wait)
    place.stack.callback(master.terminate)
    while not list(folder.glob("*")):
        assert master.poll() is None
        time.sleep(0.02)


@case()
def a_connection_that_is_open_and_whose_key_has_gone(place):
    place.know()
    key = place.copy_key("mine")
    keep_open(place, "Host srv1\n IdentityFile ~/.ssh/mine\n")
    key.unlink()


@case()
def a_connection_that_is_open_and_whose_jump_host_takes_the_key_no_more(place):
    place.know()
    key = place.copy_key("mine")
    keep_open(place, f"Host gate\n IdentityFile ~/.ssh/mine\nHost srv1\n ProxyJump gate\n IdentityFile {place.key}\n")
    key.unlink()


@case()
def a_connection_that_is_open_and_whose_host_is_known_no_more(place):
    place.know()
    keep_open(place, f"Host srv1\n IdentityFile {place.key}\n")
    (place.ssh / "known_hosts").unlink()


def _version() -> tuple[int, ...]:
    shown = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    match = re.search(r"OpenSSH_(\d+)\.(\d+)", shown)
    assert match
    return tuple(map(int, match.groups()))


@pytest.mark.parametrize("name", CASES)
def test_where_openssh_gets_in_without_a_question_so_do_we(place, name):
    prepare, expected = CASES[name]
    prepare(place)
    # we first, as ssh writes down the host keys that it accepts
    ours, theirs = we_get_in("srv1", place.home), openssh_gets_in("srv1")
    assert theirs == expected
    assert (ours is True) == expected, ours
    assert expected or "\n" not in str(ours)
