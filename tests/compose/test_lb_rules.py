"""Listeners and target specifications of older balancers."""

import pytest

from drover.compose.lb_labels import parse_listener
from drover.compose.lb_rules import LinkedService, LinkRule, custom_config, link_rules, listener_protocol


@pytest.mark.parametrize(
    ("port", "ssl", "protocol"),
    [("80", (), "http"), ("80/tcp", (), "tcp"), ("443:80", (443,), "https"), ("443:80/tcp", (443,), "tls")],
)
def test_protocols(port: str, ssl: tuple[int, ...], protocol: str) -> None:
    assert listener_protocol(parse_listener(port), ssl) == protocol


def test_a_specification_with_a_source_port_is_for_that_listener() -> None:
    listeners = [parse_listener("80:8080"), parse_listener("81")]
    links = [LinkedService(1, ("a.example.com:80/x", "b.example.com:99"))]
    assert link_rules(listeners, links, ()) == [
        LinkRule(80, "http", 1, 8080, "a.example.com", "/x"),
        LinkRule(81, "http", 1, 81),
    ]


def test_duplicates_are_dropped() -> None:
    links = [LinkedService(1, ("a.example.com=1", "a.example.com=2"))]
    assert link_rules([parse_listener("80")], links, ()) == [LinkRule(80, "http", 1, 1, "a.example.com")]


def test_nothing_extra_is_no_text() -> None:
    assert custom_config() == ""
