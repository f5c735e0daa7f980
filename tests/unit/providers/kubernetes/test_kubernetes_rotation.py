"""At each stage of a rotation, what a server shows is accepted by all that have come to it, or to the one before."""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cloudmesh.cluster.core import certificates
from cloudmesh.cluster.core.cluster_spec import ClusterSecrets, ClusterSpec
from cloudmesh.cluster.core.model import Marker, Role
from cloudmesh.cluster.providers.kubernetes.provider import KubernetesProvider
from cloudmesh.cluster.providers.kubernetes.rotation import KubernetesRotation
from cloudmesh.cluster.providers.rotation import Stage

ROTATION = KubernetesRotation()
OLD, NEW = (ClusterSecrets(certificates.new_authority("c"), KubernetesProvider().new_secrets()) for _ in range(2))
SPEC = ClusterSpec("c", "1", "kubernetes", ("10.0.0.1",), replace(OLD, successor=NEW))
SERVER = Marker("c", "1", "kubernetes", Role.SERVER, "10.0.0.1", SPEC.servers, "h1")
WORKER = replace(SERVER, role=Role.WORKER, address="10.0.0.2", node="h2")


@pytest.fixture(scope="module")
def stages() -> Mapping[Stage, Mapping[str, bytes]]:
    now = time.time()
    switched = replace(SPEC, secrets=replace(NEW, predecessor=OLD))
    files = {stage: ROTATION.files(SPEC, SERVER, stage, now) for stage in (Stage.TRUST, Stage.CERTIFICATES)}
    return {**files, Stage.DROPPED: ROTATION.files(switched, SERVER, Stage.DROPPED, now)}


def accepts(folder: Path, trusted: bytes, chain: bytes, key: bytes, name: str) -> bool:
    """Return whether a client that trusts these authorities accepts a server with this certificate, or the reverse."""
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    asking = ssl.create_default_context(cadata=trusted.decode())
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with serving.wrap_socket(theirs, server_side=True):
                pass
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with asking.wrap_socket(ours, server_hostname=name):
            return True
    except ssl.SSLCertVerificationError:
        return False
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize(
    ("stage", "old_accepts", "new_accepts"),
    [(Stage.TRUST, True, False), (Stage.CERTIFICATES, True, True)],
)
def test_pods_that_know_one_authority_alone_accept_the_api(
    stages: Mapping[Stage, Mapping[str, bytes]], tmp_path: Path, stage: Stage, old_accepts: bool, new_accepts: bool
) -> None:
    files = stages[stage]
    chain, key = files["pki/apiserver.crt"], files["pki/apiserver.key"]
    trusted = [
        (OLD.engine["ca"], old_accepts),
        (NEW.engine["ca"], new_accepts),
        (NEW.engine["ca"] + OLD.engine["ca"], True),
    ]
    for pem, expected in trusted:
        for name in ("kubernetes.default.svc", "api.cloudmesh", "10.0.0.1", "10.96.0.1"):
            assert accepts(tmp_path, pem.encode(), chain, key, name) is expected


@pytest.mark.parametrize("part", ["server", "peer"])
def test_servers_accept_each_others_store_while_they_change_over(
    stages: Mapping[Stage, Mapping[str, bytes]], tmp_path: Path, part: str
) -> None:
    trust, renewed, dropped = stages[Stage.TRUST], stages[Stage.CERTIFICATES], stages[Stage.DROPPED]
    for one, other in ((trust, trust), (trust, renewed), (renewed, trust), (dropped, renewed)):
        chain, key = other[f"pki-etcd/{part}.crt"], other[f"pki-etcd/{part}.key"]
        assert accepts(tmp_path, one["pki-etcd/ca.crt"], chain, key, "10.0.0.1")
    old = trust[f"pki-etcd/{part}.crt"], trust[f"pki-etcd/{part}.key"]
    assert not accepts(tmp_path, dropped["pki-etcd/ca.crt"], *old, "10.0.0.1")


def test_clients_of_the_old_authority_are_let_in_until_it_is_dropped(
    stages: Mapping[Stage, Mapping[str, bytes]],
) -> None:
    counts = {stage: files["kubernetes/authorities.pem"].count(b"BEGIN") for stage, files in stages.items()}
    assert counts == {Stage.TRUST: 2, Stage.CERTIFICATES: 2, Stage.DROPPED: 1}
    assert stages[Stage.DROPPED]["kubernetes/authorities.pem"] == NEW.engine["ca"].encode()


def test_what_signs_is_one_pair_and_every_server_reads_the_new_before_one_writes_it(
    stages: Mapping[Stage, Mapping[str, bytes]],
) -> None:
    for stage, signer in ((Stage.TRUST, OLD), (Stage.CERTIFICATES, NEW), (Stage.DROPPED, NEW)):
        files = stages[stage]
        assert (files["pki/ca.crt"], files["pki/ca.key"]) == (
            signer.engine["ca"].encode(),
            signer.engine["ca_key"].encode(),
        )
        assert files["pki/sa.key"] == signer.engine["accounts_key"].encode()
        providers = json.loads(files["kubernetes/encryption.json"])["resources"][0]["providers"]
        keys = [key["secret"] for key in providers[0]["secretbox"]["keys"]]
        both = [signer.engine["encryption"], (NEW if signer is OLD else OLD).engine["encryption"]]
        assert keys == (both if stage is not Stage.DROPPED else both[:1])
        assert files["pki/sa.pub"].count(b"BEGIN PUBLIC KEY") == len(keys)


@pytest.mark.parametrize(
    ("file", "user", "group"),
    [
        ("admin.conf", "kubernetes-admin", "kubeadm:cluster-admins"),
        ("scheduler.conf", "system:kube-scheduler", ""),
        ("controller-manager.conf", "system:kube-controller-manager", ""),
    ],
)
def test_kubeconfigs_name_their_user_and_hold_its_key(
    stages: Mapping[Stage, Mapping[str, bytes]], file: str, user: str, group: str
) -> None:
    text = stages[Stage.CERTIFICATES][f"kubeconfigs/{file}"].decode()
    fields = dict(re.findall(r"(client-certificate-data|client-key-data): (\S+)", text))
    certificate = x509.load_pem_x509_certificate(base64.b64decode(fields["client-certificate-data"]))
    key = load_pem_private_key(base64.b64decode(fields["client-key-data"]), None)
    assert certificate.subject.rfc4514_string() == f"CN={user}" + f",O={group}" * bool(group)
    assert certificate.public_key() == key.public_key()


def test_a_worker_gets_a_kubelet_and_no_key_of_an_authority() -> None:
    files = ROTATION.files(SPEC, WORKER, Stage.CERTIFICATES, time.time())
    assert files.keys() == {"kubernetes/authorities.pem", "kubeconfigs/kubelet.conf", "kubelet.pem"}
    certificate = x509.load_pem_x509_certificate(files["kubelet.pem"])
    assert certificate.subject.rfc4514_string() == "CN=system:node:h2,O=system:nodes"
    assert b"server: https://api.cloudmesh:6443\n" in files["kubeconfigs/kubelet.conf"]
    private = [value for secrets in (OLD, NEW) for name, value in secrets.engine.items() if name.endswith("_key")]
    assert not any(value.encode() in content for value in private for content in files.values())


def test_tokens_are_replaced_on_every_host_once_all_servers_make_new_ones() -> None:
    assert ROTATION.refreshes
    assert ROTATION.files(SPEC, WORKER, Stage.REFRESHED, time.time()) == {"refresh": b""}


def test_a_cluster_whose_api_reads_other_files_is_refused() -> None:
    engine = {name: value for name, value in OLD.engine.items() if name != "encryption"}
    assert ROTATION.obstacle(OLD) == ""
    assert "made by a version whose API servers do not read" in ROTATION.obstacle(replace(OLD, engine=engine))
