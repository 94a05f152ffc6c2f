from __future__ import annotations

import pytest

from drover.placement.ports import PortError, PortSpec, parse_port


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", PortSpec(None, None, (80, 80), "tcp")),
        ("8080:80", PortSpec(None, (8080, 8080), (80, 80), "tcp")),
        ("8080:80/udp", PortSpec(None, (8080, 8080), (80, 80), "udp")),
        ("8080:80/UDP", PortSpec(None, (8080, 8080), (80, 80), "udp")),
        ("10.0.0.1:8080:80", PortSpec("10.0.0.1", (8080, 8080), (80, 80), "tcp")),
        ("10.0.0.1::80", PortSpec("10.0.0.1", None, (80, 80), "tcp")),
        ("[::1]:8080:80", PortSpec("::1", (8080, 8080), (80, 80), "tcp")),
        ("8000-8002:80-82/tcp", PortSpec(None, (8000, 8002), (80, 82), "tcp")),
        (" 80/tcp ", PortSpec(None, None, (80, 80), "tcp")),
    ],
)
def test_what_can_be_read(text: str, expected: PortSpec) -> None:
    assert parse_port(text) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "PortWrongFormat"),
        ("1:2:3:4", "PortWrongFormat"),
        ("999.1.1.1:80:80", "PortWrongFormat"),
        ("8000-8003:80-82", "PortWrongFormat"),
        ("x:80", "PortInvalidPublicPort"),
        ("0:80", "PortInvalidPublicPort"),
        ("70000:80", "PortInvalidPublicPort"),
        ("80:x", "PortInvalidPrivatePort"),
        ("80:65536", "PortInvalidPrivatePort"),
        ("90-80", "PortInvalidPrivatePort"),
        ("80/", "PortInvalidProtocol"),
        ("80/sctp", "PortInvalidProtocol"),
    ],
)
def test_what_cannot_be_read_says_which_part(text: str, code: str) -> None:
    with pytest.raises(PortError) as caught:
        parse_port(text)
    assert caught.value.code == code
