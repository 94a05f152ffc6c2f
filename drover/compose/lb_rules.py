"""Rules of a balancer from listeners and target specifications, as Rancher 1.6's server made them of v1 balancers.

A listener is a port of the balancer, a specification one item of a target label or of a link's `ports`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from drover.compose.lb_labels import Listener, Target, parse_targets


@dataclass(frozen=True, slots=True)
class LinkedService:
    """A service that a balancer is linked to, and the specifications of the link."""

    service_id: int
    specifications: tuple[str, ...] = ()

    def targets(self) -> list[Target]:
        """Raises ValueError naming the specification that cannot be read."""
        return [target for text in self.specifications for target in parse_targets(text)]


@dataclass(frozen=True, slots=True)
class LinkRule:
    source_port: int
    protocol: str
    service_id: int
    target_port: int
    hostname: str = ""
    path: str = ""


def link_rules(
    listeners: Sequence[Listener], links: Iterable[LinkedService], ssl_ports: Sequence[int]
) -> list[LinkRule]:
    """One rule for each listener, service, host name and path. Raises ValueError for an unreadable specification."""
    found: dict[tuple[int, int, str, str], LinkRule] = {}
    for link in links:
        targets = link.targets()
        for listener in listeners:
            for rule in _rules(listener, link.service_id, targets, ssl_ports):
                found.setdefault((rule.source_port, rule.service_id, rule.hostname, rule.path), rule)
    return list(found.values())


def listener_protocol(listener: Listener, ssl_ports: Sequence[int]) -> str:
    """`http` unless the port says tcp; with TLS `https`, or `tls` for tcp."""
    plain = "tcp" if listener.protocol == "tcp" else "http"
    if listener.source_port not in ssl_ports:
        return plain
    return "tls" if plain == "tcp" else "https"


def custom_config(*, global_text: str = "", defaults_text: str = "", proxy_ports: Sequence[int] = ()) -> str:
    """Extra text for haproxy.cfg: the sections of v1, and the ports that expect the PROXY protocol."""
    sections = [
        "\n".join((name, *(f"    {line}" for line in text.strip().splitlines())))
        for name, text in (("global", global_text), ("defaults", defaults_text))
        if text.strip()
    ]
    sections += [f"frontend {port}\n    accept-proxy" for port in proxy_ports]
    return "\n".join(sections) + "\n" if sections else ""


def _rules(
    listener: Listener, service_id: int, targets: Sequence[Target], ssl_ports: Sequence[int]
) -> Iterator[LinkRule]:
    protocol = listener_protocol(listener, ssl_ports)
    fitting = [target for target in targets if target.source_port in (0, listener.source_port)]
    for target in fitting or [Target()]:
        yield LinkRule(
            source_port=listener.source_port,
            protocol=protocol,
            service_id=service_id,
            target_port=target.target_port or listener.target_port,
            hostname=target.hostname,
            path=target.path,
        )
