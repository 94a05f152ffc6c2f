"""Scripts, identities and settings: what decides which host this is."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from drover.common.errors import SettingsError
from drover.host.agent.errors import IdentityError, RegistrationError
from drover.host.agent.identity import engine_identity, engine_lock, host_public_key, load_identity
from drover.host.agent.registration import check_agent_ip, check_reachable_by_containers, parse_script
from drover.host.agent.server import ServerClock
from drover.host.agent.settings import AgentSettings, read_settings

URL = "http://s:8080/v1/scripts/A:1:b"
SCRIPT = """#!/bin/sh
export CATTLE_REGISTRATION_ACCESS_KEY="registrationToken"
export CATTLE_REGISTRATION_SECRET_KEY="A:1:b"
export CATTLE_URL="http://s:8080/v1"
export DETECTED_CATTLE_AGENT_IP="10.1.2.3"
"""


def test_reads_the_script_without_running_it():
    script = parse_script(SCRIPT + "$(touch /tmp/never)\n", URL)
    assert (script.url, script.access_key, script.token) == ("http://s:8080/v1", "registrationToken", "A:1:b")
    assert script.detected_ip == "10.1.2.3"
    assert "A:1:b" not in repr(script)


def test_an_override_changes_the_server():
    script = parse_script(SCRIPT + 'export CATTLE_URL_OVERRIDE="https://other/v1"\n', URL)
    assert script.url == "https://other/v1"


@pytest.mark.parametrize(
    ("text", "url", "message"),
    [
        ("<html>", URL, "not with a registration script"),
        ("#!/bin/sh\n", URL, "lacks the server's URL"),
        (SCRIPT, "http://other:8080/v1/scripts/A:1:b", "Host Registration URL does not match"),
    ],
)
def test_refuses_other_answers(text: str, url: str, message: str):
    with pytest.raises(RegistrationError, match=message):
        parse_script(text, url)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "255.255.255.255", "1.2.3", "1.2.3.256", "host", ""])
def test_refuses_unreachable_agent_addresses(address: str):
    with pytest.raises(RegistrationError, match="not an IPv4 address that other hosts can reach"):
        check_agent_ip(address)


def test_accepts_agent_addresses():
    check_agent_ip(None)
    check_agent_ip("192.168.1.10")


def test_a_container_cannot_reach_its_own_localhost():
    with pytest.raises(RegistrationError, match="localhost"):
        check_reachable_by_containers("http://localhost:8080/v1/scripts/x")
    check_reachable_by_containers(URL)


def settings(folder: Path, **fields: object) -> AgentSettings:
    return AgentSettings(state_dir=folder, **fields)  # type: ignore[arg-type]


def test_the_identity_stays(tmp_path: Path):
    first = load_identity(settings(tmp_path), fingerprint="m1")
    assert load_identity(settings(tmp_path), fingerprint="m1") == first
    assert len(first.host_token) == 128
    token_file = tmp_path / ".registration_token"
    assert token_file.read_text() == first.host_token
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert first.host_token not in repr(first)


def test_a_given_uuid_overwrites_the_stored_one(tmp_path: Path):
    load_identity(settings(tmp_path), fingerprint="")
    given = load_identity(settings(tmp_path, docker_uuid="mine", physical_host_uuid="metal"), fingerprint="")
    assert (given.docker_uuid, given.physical_host_uuid) == ("mine", "metal")
    assert load_identity(settings(tmp_path), fingerprint="").docker_uuid == "mine"


def test_a_clone_is_refused_until_it_gets_an_identity_of_its_own(tmp_path: Path):
    original = load_identity(settings(tmp_path), fingerprint="m1")
    with pytest.raises(IdentityError, match="--new-identity"):
        load_identity(settings(tmp_path), fingerprint="m2")
    clone = load_identity(settings(tmp_path, new_identity=True), fingerprint="m2")
    assert clone.host_token != original.host_token
    assert clone.docker_uuid != original.docker_uuid
    assert load_identity(settings(tmp_path), fingerprint="m2") == clone
    assert load_identity(settings(tmp_path), fingerprint="") != original, "an unknown machine is no clone"


def test_engines_that_share_an_id_are_told_apart_by_their_data():
    assert engine_identity({"ID": "AB", "DockerRootDir": "/var/lib/docker"}) == "AB"
    assert engine_identity({"ID": "AB", "DockerRootDir": "/data/two"}) == "AB@/data/two"


def test_one_agent_an_engine(tmp_path: Path):
    hold = (
        "import sys\nfrom pathlib import Path\nfrom drover.host.agent.identity import engine_lock\n"
        "with engine_lock(Path(sys.argv[1]), 'AB:CD'):\n print('held', flush=True)\n sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(IdentityError, match=rf"Another agent \(pid {other.pid}\)"), engine_lock(tmp_path, "AB:CD"):
            pass
        elsewhere = tmp_path / "elsewhere"
        with pytest.raises(IdentityError, match="Another agent already serves"), engine_lock(elsewhere, "AB:CD"):
            pass
        with engine_lock(tmp_path, "another engine"):
            pass
        other.kill()
    with engine_lock(tmp_path, "AB:CD"):
        pass


def test_the_host_key_is_made_once_and_kept_private(tmp_path: Path):
    path = tmp_path / "ssl" / "host.key"
    first = host_public_key(path)
    assert first.startswith("-----BEGIN RSA PUBLIC KEY-----\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert path.read_bytes().startswith(b"-----BEGIN RSA PRIVATE KEY-----")
    assert host_public_key(path) == first
    path.chmod(0o600)
    path.write_text("garbage")
    with pytest.raises(IdentityError, match="restore or delete it"):
        host_public_key(path)


def test_settings_come_from_the_originals_variables_too():
    made = read_settings(
        {"docker_concurrency": 3},
        environ={
            "CATTLE_AGENT_IP": "10.0.0.1",
            "DROVER_HOSTNAME": "mine",
            "CATTLE_HOSTNAME": "theirs",
            "CATTLE_HOST_LABELS": "zone=a&zone=b& rack = 7 &empty=",
            "CATTLE_SCHEDULER_IPS": "1.2.3.4",
            "CATTLE_SECRET_KEY": "hidden",
        },
    )
    assert made.reachable_ip == "10.0.0.1"
    assert made.hostname == "mine"
    assert made.docker_concurrency == 3
    assert made.create_labels == {"zone": "a", "rack": "7", "empty": "", "io.rancher.scheduler.ips": "1.2.3.4"}
    assert "hidden" not in repr(made)
    with pytest.raises(SettingsError, match="CATTLE_MEMORY_OVERRIDE"):
        read_settings(environ={"CATTLE_MEMORY_OVERRIDE": "much"})


def test_the_servers_clock():
    clock = ServerClock()
    clock.learn("Thu, 01 Jan 1970 01:00:00 GMT", now=0.0)
    assert clock.offset == 3600
    clock.learn("rubbish", now=0.0)
    clock.learn(None)
    assert clock.offset == 3600
