"""The text forms of older balancers: port entries and target labels.

A label `io.rancher.loadbalancer.target.<service>` holds a comma-separated list of
`[host][:source port][/path][=target port]`; only digits mean a target port. The still older `target port:host/path` is
understood too. Source: Rancher 1.6, where importer and server disagreed on few inputs; the server's reading counts, and
host names may begin with a digit.
"""

import re
from dataclasses import dataclass

TARGET_LABEL = "io.rancher.loadbalancer.target."
SSL_PORTS_LABEL = "io.rancher.loadbalancer.ssl.ports"
PROXY_PROTOCOL_LABEL = "io.rancher.loadbalancer.proxy-protocol.ports"

_ENTRY = re.compile(r"(?:(?:.*:)?(\d{1,5}):)?(\d{1,5})(?:/([a-zA-Z]+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """One item of a target label; zero and empty mean not given."""

    hostname: str = ""
    source_port: int = 0
    path: str = ""
    target_port: int = 0


@dataclass(frozen=True, slots=True)
class Listener:
    """A port of a balancer; `protocol` is empty when the entry names none."""

    source_port: int
    target_port: int
    protocol: str = ""


def parse_targets(label: str) -> tuple[Target, ...]:
    """All items of a target label. Raises ValueError naming the item that cannot be read."""
    return tuple(_parse_target(item.strip()) for item in label.split(",") if item.strip())


def parse_listener(entry: str) -> Listener:
    """`N`, `A:B` or `ip:A:B`, with an optional `/protocol`. Raises ValueError."""
    match = _ENTRY.fullmatch(entry)
    if not match:
        raise ValueError(f"'{entry}' is not a single port; write source port:target port")
    target = int(match.group(2))
    source = int(match.group(1)) if match.group(1) else target
    return Listener(source, target, (match.group(3) or "").lower())


def parse_ports(label: str) -> tuple[int, ...]:
    """A comma-separated list of ports. Raises ValueError."""
    return tuple(_port(item.strip(), item) for item in label.split(",") if item.strip())


def _parse_target(item: str) -> Target:
    left, equals, right = item.partition("=")
    if "=" in right:
        raise ValueError(f"'{item}' has more than one '='")
    if not equals and left.isdigit():
        return Target(target_port=_port(left, item))
    if equals and not right:
        if not left.isdigit():
            raise ValueError(f"'{item}' has no target port after '='")
        return Target(target_port=_port(left, item))
    target = _port(right, item) if equals else 0
    address, slash, rest = left.partition("/")
    path = slash + rest
    if address.isdigit():
        return Target("", _port(address, item), path, target)
    first, colon, second = address.partition(":")
    if not colon:
        return Target(address, 0, path, target)
    if first.isdigit() and not second.isdigit():
        if equals or ":" in second:
            raise ValueError(f"'{item}' has two target ports")
        return Target(second, 0, path, _port(first, item))
    return Target(first, _port(second, item), path, target)


def _port(text: str, item: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65535):
        raise ValueError(f"'{text}' in '{item}' is not a port from 1 to 65535")
    return int(text)
