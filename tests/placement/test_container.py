from __future__ import annotations

import pytest

from drover.placement import HostPort, parse_ports

ANY = "0.0.0.0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", HostPort(ANY, 0, 80, "tcp")),
        ("8080:80", HostPort(ANY, 8080, 80, "tcp")),
        ("8080:80/UDP", HostPort(ANY, 8080, 80, "udp")),
        ("10.0.0.1:8080:80/tcp", HostPort("10.0.0.1", 8080, 80, "tcp")),
        ("10.0.0.1::80", HostPort("10.0.0.1", 0, 80, "tcp")),
        ("10.0.0.1:80", HostPort("10.0.0.1", 0, 80, "tcp")),
        ("[::1]:8080:80", HostPort("::1", 8080, 80, "tcp")),
    ],
)
def test_specifications(text: str, expected: HostPort) -> None:
    assert parse_ports([text]) == (expected,)


@pytest.mark.parametrize("text", ["", "x", "a:b", "1:2:3:4", "80:x"])
def test_unreadable_ones_are_left_out(text: str) -> None:
    assert parse_ports([text]) == ()


def test_how_a_port_is_shown() -> None:
    assert str(HostPort(ANY, 80, 8080, "tcp")) == "80/tcp"
    assert str(HostPort("10.0.0.1", 80, 8080, "udp")) == "10.0.0.1:80/udp"
