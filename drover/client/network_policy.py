"""Network policies as values: read from the API's rules, checked in one place for server and hosts.

A rule is one of three kinds (Rancher 1.6): `within` a stack, a service or a link; `between` containers that match a
selector or share a label's value; `from` some `to` others, with optional ports. The first rule that fits a packet
decides, then the network's default action.

One kind is an extension: `from` with the selector `io.rancher.network.external=true` (or `... in (198.51.100.0/24)`)
speaks of traffic that comes from outside through published ports, which no other rule touches.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drover.placement.selectors import Selector, SelectorError, parse_selector

EXTERNAL = "io.rancher.network.external"
"""Stands in a `from` selector for what is outside of the network; its values are `true` or subnets."""

MAX_RULES = 1000
_SCOPES = ("stack", "service", "linked")
_PROTOCOLS = ("tcp", "udp")


class PolicyError(ValueError):
    """A policy that cannot be applied; `rule` is its index, None for the default action."""

    def __init__(self, text: str, *, rule: int | None = None) -> None:
        super().__init__(text if rule is None else f"rule {rule + 1}: {text}")
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Port:
    number: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Within:
    """`scope`: stack, service or linked."""

    scope: str
    allow: bool


@dataclass(frozen=True, slots=True)
class Between:
    """At least one of `selector` and `group_by` (a label's name)."""

    selector: Selector | None
    group_by: str
    allow: bool


@dataclass(frozen=True, slots=True)
class FromTo:
    """No `ports`: all of them, and every protocol."""

    source: Selector
    target: Selector
    ports: tuple[Port, ...]
    allow: bool


@dataclass(frozen=True, slots=True)
class FromOutside:
    """`sources` empty: from everywhere. `ports` are the containers' own."""

    sources: tuple[str, ...]
    target: Selector
    ports: tuple[Port, ...]
    allow: bool


Rule = Within | Between | FromTo | FromOutside


@dataclass(frozen=True, slots=True)
class Policy:
    rules: tuple[Rule, ...]
    default_allow: bool

    @property
    def open(self) -> bool:
        """Nothing to enforce between containers."""
        return not self.rules and self.default_allow


def parse_policy(rules: Sequence[Any] | None, default_action: str | None) -> Policy:
    """Raises PolicyError that names the rule."""
    if default_action not in (None, "", "allow", "deny"):
        raise PolicyError(f"default action allow or deny, not {default_action!r}")
    if rules is not None and not isinstance(rules, (list, tuple)):
        raise PolicyError("a policy is a list of rules")
    listed = list(rules or ())
    if len(listed) > MAX_RULES:
        raise PolicyError(f"a policy has at most {MAX_RULES} rules")
    return Policy(
        tuple(_rule(number, each) for number, each in enumerate(listed)), default_allow=default_action != "deny"
    )


def _rule(number: int, rule: Any) -> Rule:
    try:
        if not isinstance(rule, Mapping):
            raise PolicyError("needs within, between, or from and to")
        return _parse(rule)
    except PolicyError as error:
        raise PolicyError(str(error), rule=number) from error


def _parse(rule: Mapping[str, Any]) -> Rule:
    within, between = rule.get("within"), rule.get("between")
    source, target, ports = rule.get("from"), rule.get("to"), rule.get("ports")
    if within is None and between is None and source is None and target is None:
        raise PolicyError("needs within, between, or from and to")
    if within is not None:
        if between is not None or source is not None or target is not None or ports:
            raise PolicyError("within excludes between/from/to/ports")
        if within not in _SCOPES:
            raise PolicyError("within must be stack, service or linked")
        return Within(within, _allow(rule))
    if between is not None:
        if source is not None or target is not None or ports:
            raise PolicyError("between excludes from/to/ports")
        return _between(between, rule)
    if source is None or target is None:
        raise PolicyError("from and to are needed together")
    return _from_to(source, target, ports, rule)


def _between(between: Any, rule: Mapping[str, Any]) -> Between:
    values = between if isinstance(between, Mapping) else {}
    selector, group_by = _text(values.get("selector")), _text(values.get("groupBy"))
    if not selector and not group_by:
        raise PolicyError("between needs selector or groupBy")
    return Between(_selector(selector, "between") if selector else None, group_by, _allow(rule))


def _from_to(source: Any, target: Any, ports: Any, rule: Mapping[str, Any]) -> FromTo | FromOutside:
    texts = {
        name: _text(member.get("selector")) if isinstance(member, Mapping) else ""
        for name, member in (("from", source), ("to", target))
    }
    for name, text in texts.items():
        if not text:
            raise PolicyError(f"{name} needs a selector")
    selected = _selector(texts["from"], "from")
    to, wanted = _selector(texts["to"], "to"), _ports(ports)
    if any(each.key == EXTERNAL for each in to.requirements):
        raise PolicyError(f"{EXTERNAL} can only stand in from")
    if any(each.key == EXTERNAL for each in selected.requirements):
        return FromOutside(_sources(selected), to, wanted, _allow(rule))
    return FromTo(selected, to, wanted, _allow(rule))


def _sources(selector: Selector) -> tuple[str, ...]:
    if len(selector.requirements) != 1 or not selector.requirements[0].wanted:
        raise PolicyError(f"{EXTERNAL} stands alone, with = or in")
    values = selector.requirements[0].values
    if values <= {"true"}:
        return ()
    try:
        return tuple(sorted(str(ipaddress.IPv4Network(each, strict=False)) for each in values))
    except ValueError as error:
        raise PolicyError(f"{EXTERNAL} is true or IPv4 subnets: {error}") from error


def _ports(ports: Any) -> tuple[Port, ...]:
    if ports is None:
        return ()
    if not isinstance(ports, (list, tuple)):
        raise PolicyError("ports is a list like 80, 53/udp")
    return tuple(dict.fromkeys(_port(str(each)) for each in ports))


def _port(text: str) -> Port:
    number, _, protocol = text.strip().partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise PolicyError("protocol tcp or udp")
    if not (number.isascii() and number.isdigit() and 0 < int(number) < 65536):
        raise PolicyError("port range 1-65535")
    return Port(int(number), protocol)


def _allow(rule: Mapping[str, Any]) -> bool:
    action = rule.get("action")
    if action not in ("allow", "deny"):
        raise PolicyError("action allow or deny")
    return bool(action == "allow")


def _selector(text: str, where: str) -> Selector:
    try:
        return parse_selector(text)
    except SelectorError as error:
        raise PolicyError(f"{where}: {error}") from error


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
