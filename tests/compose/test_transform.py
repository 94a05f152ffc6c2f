"""Docker's inspect JSON as a launch config."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.compose import TransformError, transform

FULL: dict[str, Any] = {
    "Id": "abc",
    "Name": "/web",
    "Config": {
        "Hostname": "h",
        "Domainname": "d",
        "User": "u",
        "Tty": True,
        "OpenStdin": False,
        "WorkingDir": "/w",
        "StopSignal": "SIGINT",
        "StopTimeout": 5,
        "Image": "nginx",
        "Env": ["A=1", "B", "C=x=y"],
        "Cmd": ["a", "b"],
        "Entrypoint": None,
        "Labels": {"a": "b", "n": None},
        "Volumes": {"/b": {}, "/a": {}},
        "ExposedPorts": {"80/tcp": {}, "90/udp": {}, "70/tcp": {}},
        "VolumeDriver": "nfs",
        "Healthcheck": {"Test": ["CMD", "x"], "Interval": 30_000_000_000, "Timeout": 0, "Retries": 3},
    },
    "HostConfig": {
        "Binds": ["/x:/y"],
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "90/udp": [{"HostPort": ""}]},
        "Privileged": True,
        "PublishAllPorts": False,
        "Dns": ["1.1.1.1"],
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
        "Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": ""}],
        "Memory": 1024,
        "CpuShares": 0,
        "BlkioDeviceReadBps": [{"Path": "/dev/a", "Rate": 5}],
        "BlkioWeightDevice": [{"Path": "/dev/a", "Weight": 7}],
        "Ulimits": [{"Name": "n", "Soft": 1, "Hard": 2}],
        "Tmpfs": {"/t": "rw"},
        "LogConfig": {"Type": "syslog", "Config": {"a": "b"}},
        "NetworkMode": "",
        "ReadonlyRootfs": True,
        "CpusetCpus": "0",
    },
}


def test_all_fields() -> None:
    fields = transform(FULL)
    expected = {
        "name": "web",
        "externalId": "abc",
        "hostname": "h",
        "domainName": "d",
        "user": "u",
        "tty": True,
        "stdinOpen": False,
        "workingDir": "/w",
        "stopSignal": "SIGINT",
        "stopTimeout": 5,
        "volumeDriver": "nfs",
        "imageUuid": "docker:nginx",
        "environment": {"A": "1", "B": "", "C": "x=y"},
        "command": ["a", "b"],
        "entryPoint": [],
        "labels": {"a": "b", "n": ""},
        "dataVolumes": ["/a", "/b", "/x:/y"],
        "ports": ["8080:80/tcp", "90/udp"],
        "healthCmd": ["CMD", "x"],
        "healthInterval": 30,
        "healthTimeout": None,
        "healthRetries": 3,
        "privileged": True,
        "dns": ["1.1.1.1"],
        "restartPolicy": {"name": "on-failure", "maximumRetryCount": 2},
        "devices": ["/dev/a:/dev/b:rwm"],
        "memory": 1024,
        "cpuShares": None,
        "blkioDeviceOptions": {"/dev/a": {"readBps": 5, "weight": 7}},
        "ulimits": [{"name": "n", "soft": 1, "hard": 2}],
        "tmpfs": {"/t": "rw"},
        "logConfig": {"driver": "syslog", "config": {"a": "b"}},
        "networkMode": "bridge",
        "readOnly": True,
        "cpuSet": "0",
    }
    assert {name: fields[name] for name in expected} == expected


def test_nothing_given() -> None:
    fields = transform({})
    assert (fields["command"], fields["entryPoint"], fields["networkMode"]) == ([], [], "bridge")
    assert {name for name, value in fields.items() if value} == {"networkMode", "logConfig"}


def test_equal_input_gives_equal_output() -> None:
    shuffled = json.loads(json.dumps(FULL))
    for part in (shuffled, shuffled["Config"], shuffled["HostConfig"], shuffled["Config"]["Volumes"]):
        items = list(part.items())
        part.clear()
        part.update(reversed(items))
    assert json.dumps(transform(FULL)) == json.dumps(transform(shuffled))


@pytest.mark.parametrize(
    ("mode", "result"),
    [("", "bridge"), ("default", "bridge"), ("bridge", "bridge"), ("host", "host"), ("none", "none")],
)
def test_network_modes(mode: str, result: str) -> None:
    assert transform({"HostConfig": {"NetworkMode": mode}})["networkMode"] == result


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"HostConfig": {"NetworkMode": "container:x"}}, "Transformer API does not support container network mode."),
        ({"HostConfig": {"NetworkMode": "weave"}}, "Unrecognized network mode: weave"),
        ({"Config": []}, "'Config' must be an object"),
        ({"Config": {"Env": {}}}, "'Env' must be a list"),
        ({"HostConfig": {"Devices": ["x"]}}, "holds something else"),
    ],
)
def test_what_is_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(TransformError, match=message) as caught:
        transform(body)
    assert caught.value.status == 422


def test_the_display_name_label_names_the_container() -> None:
    assert transform({"Name": "/x", "Config": {"Labels": {"io.rancher.container.display_name": "y"}}})["name"] == "y"


KEYS = [*FULL["Config"], *FULL["HostConfig"]]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["Path", "Name", "80/tcp"]), inner),
    max_leaves=5,
)
PARTS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4) | VALUES


@settings(deadline=None)
@given(st.fixed_dictionaries({"Config": PARTS, "HostConfig": PARTS}))
def test_any_shape_is_transformed_or_refused(body: dict[str, Any]) -> None:
    try:
        fields = transform(body)
    except TransformError:
        return
    assert fields["networkMode"] in ("bridge", "host", "none")


def test_a_port_bound_to_something_else_than_a_list_is_refused() -> None:
    with pytest.raises(TransformError, match="'80/tcp' must be a list"):
        transform({"HostConfig": {"PortBindings": {"80/tcp": True}}})
