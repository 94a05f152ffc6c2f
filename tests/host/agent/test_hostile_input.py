"""Whatever comes over the wire, the agent answers with an error at worst, and text stays text."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.client.events import decode_request
from drover.host.agent.errors import AgentError
from drover.host.agent.parameters import MappingFacts, docker_parameters
from drover.host.agent.payload import ContainerFields, InstanceRequest, decode
from drover.host.agent.registration import RegistrationError, parse_script
from drover.host.agent.streams.logs import LineSplitter
from drover.host.agent.streams.multiplex import Frame, parse_frame
from drover.host.agent.streams.samples import from_docker

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELD_NAMES = [field.encode_name for field in msgspec.structs.fields(ContainerFields)]


@given(st.dictionaries(st.sampled_from(FIELD_NAMES), JSON, max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_field_maps_or_is_refused(fields: dict[str, Any]):
    fields = {"imageUuid": "docker:i"} | fields
    data = {"instanceHostMap": {"instance": {"uuid": "u", "name": "n", "data": {"fields": fields}}}}
    try:
        request = decode(msgspec.Raw(msgspec.json.encode(data)), InstanceRequest)
        parameters = docker_parameters(request.instance_host_map, MappingFacts())
    except (msgspec.ValidationError, AgentError):
        return
    assert msgspec.json.decode(msgspec.json.encode(parameters.body)) == parameters.body


@given(
    text=st.text(min_size=1, max_size=40),
    field=st.sampled_from(["workingDir", "user", "domainName", "stopSignal", "cpuSet", "ipcMode", "cgroupParent"]),
)
@settings(max_examples=200, deadline=None)
def test_text_reaches_docker_unchanged(text: str, field: str):
    data = {"instanceHostMap": {"instance": {"uuid": "u", "data": {"fields": {"imageUuid": "i", field: text}}}}}
    request = decode(msgspec.Raw(msgspec.json.encode(data)), InstanceRequest)
    body = docker_parameters(request.instance_host_map, MappingFacts()).body
    assert text in [*body.values(), *body["HostConfig"].values()]


@given(JSON | st.text() | st.binary(max_size=50))
@settings(max_examples=300, deadline=None)
def test_any_frame_is_an_event_or_refused(frame: Any):
    wire = frame if isinstance(frame, (str, bytes)) else msgspec.json.encode(frame)
    try:
        request = decode_request(wire)
    except msgspec.DecodeError:
        return
    except UnicodeDecodeError:
        assert isinstance(wire, bytes)
        return
    assert isinstance(request.name, str)


@settings(deadline=None)
@given(st.text())
def test_any_script_is_read_or_refused(text: str):
    for script in (text, "#!/bin/sh\n" + text):
        with pytest.raises(RegistrationError):
            parse_script(script, "http://s/v1/scripts/x")


@settings(deadline=None)
@given(st.text())
def test_any_stream_frame(text: str):
    frame = parse_frame(text)
    assert frame is None or Frame(frame.key, frame.type, frame.body).encode() == text


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=8), st.booleans())
def test_any_log_bytes(chunks: list[bytes], tty: bool):
    splitter = LineSplitter(tty=tty)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)] + list(splitter.rest())
    assert all(line[2] == " " and line[:2].isdecimal() for line in lines)


@pytest.mark.parametrize("stats", [{}, {"cpu_stats": None, "memory_stats": None, "blkio_stats": None}])
def test_empty_statistics(stats: dict[str, Any]):
    sample = from_docker(stats, identifier="c", host_memory=1, interfaces=[])
    assert sample.cpu.usage.total == 0


def test_statistics_without_times_per_core_count_the_cores():
    """cgroup v2: the reader divides by the number of cores, so there must be as many entries."""
    stats = {
        "cpu_stats": {"cpu_usage": {"total_usage": 400}, "online_cpus": 4},
        "memory_stats": {"usage": 100, "limit": 200, "stats": {"inactive_file": 30}},
        "blkio_stats": {"io_service_bytes_recursive": [{"major": 8, "minor": 0, "op": "read", "value": 5}]},
    }
    sample = from_docker(stats, identifier="c", host_memory=1000, interfaces=[])
    assert sample.cpu.usage.per_cpu_usage == [100] * 4
    assert (sample.memory.usage, sample.memory.limit) == (70, 200)
    assert sample.diskio.io_service_bytes[0].stats == {"Read": 5}
