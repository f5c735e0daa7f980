"""The configuration of Nomad's agents."""

from cloudmesh.cluster.providers.nomad import bootstrap
from cloudmesh.cluster.providers.nomad.job_spec import CORE
from cloudmesh.cluster.ssh import host_script


def client(**changed) -> dict:
    return configuration(**changed)["client"]


def configuration(**changed) -> dict:
    fields = {
        "cores": 4,
        "interface": "eth1",
        "takes_jobs": True,
        "is_server": False,
        "meta": {},
    }
    return bootstrap.client(**{**fields, **changed})


def test_the_api_listens_on_loopback_only():
    agent = bootstrap.agent(name="h", address="10.0.0.1", cluster="demo")
    assert agent["addresses"]["http"] == "127.0.0.1"
    assert agent["bind_addr"] == "10.0.0.1"


def test_rpc_wants_a_certificate_with_the_right_name():
    tls = bootstrap.agent(name="h", address="10.0.0.1", cluster="demo")["tls"]
    assert tls["rpc"] is True
    assert tls["verify_server_hostname"] is True


def test_access_control_and_gossip_encryption_are_on():
    assert bootstrap.agent(name="h", address="10.0.0.1", cluster="demo")["acl"]["enabled"] is True
    assert bootstrap.server(gossip_key="k")["server"]["encrypt"] == "k"


def test_no_agent_asks_a_cloud_or_for_updates():
    assert bootstrap.agent(name="h", address="10.0.0.1", cluster="demo")["disable_update_check"] is True
    assert "env_aws" in client()["options"]["fingerprint.denylist"]


def test_a_host_that_takes_no_jobs_is_in_a_pool_of_its_own():
    assert client()["node_pool"] == "default"
    assert client(takes_jobs=False)["node_pool"] != "default"


def test_hosts_are_counted_in_cores_whatever_their_clock_rate():
    assert client(cores=4)["cpu_total_compute"] == 4 * CORE


def test_dockers_log_keeps_every_byte_for_the_host_to_copy():
    docker = configuration()["plugin"][0]["docker"]["config"]
    logging, script = docker["logging"], host_script.load("nomad/keep-output.sh")
    assert logging["type"] == "local"
    assert int(logging["config"]["max-size"]) >= 1 << 50  # it never begins another file
    assert f"ENDLESS={logging['config']['max-size']}\n" in script
    assert docker["gc"]["container"] is False
