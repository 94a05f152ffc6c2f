"""From a policy and the network's members to sets of addresses and rules over them (Rancher 1.6's translation).

Traffic is judged on the destination's host: destinations are local addresses, sources those of all hosts. `RETURN`
lets a packet go on to the forward rules, `DROP` ends it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from drover.client.network_policy import Between, FromOutside, FromTo, Policy, Port, Within
from drover.client.world import Container, World
from drover.host.network.policy.members import Members, links_of, members_of
from drover.host.network.rules.ports import MARK
from drover.host.network.rules.tables import EXTERNAL_POLICY, NETWORK_POLICY, Hook, Owner
from drover.placement.selectors import Selector

USER_PREFIX = "RNCH-U-"
SYSTEM_PREFIX = "RNCH-S-"
HASH_DIGITS = 20
"""With `TMP-` before it, a set's name has the 31 characters that the kernel allows."""

STARTED = "-m conntrack --ctstate NEW,ESTABLISHED,RELATED"
ANSWERED = "-m conntrack --ctstate ESTABLISHED,RELATED"
ORIGINAL = "-m conntrack --ctdir ORIGINAL"


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """`sets`: name -> addresses. `rules` for traffic between containers, `external` for what comes from outside."""

    sets: dict[str, frozenset[str]] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    external: tuple[str, ...] = ()

    def owner(self) -> Owner:
        return Owner("policy", {"filter": {NETWORK_POLICY: self.rules, EXTERNAL_POLICY: self.external}})

    def hooks(self, subnet: str) -> tuple[Hook, ...]:
        """Only published ports' packets carry the mark, and only on their way in."""
        if not self.external or not subnet:
            return ()
        rule = f"! -s {subnet} -d {subnet} -m mark --mark {MARK:#x} -j {EXTERNAL_POLICY}"
        return (Hook("filter", "FORWARD", rule),)


def translate(policy: Policy, world: World, network: str) -> PolicyRules:
    """The rules of this host for the network with this uuid. An open policy makes none."""
    if policy.open:
        return PolicyRules()
    return _Translation(policy, world, network).run()


class _Translation:
    def __init__(self, policy: Policy, world: World, network: str) -> None:
        self._policy = policy
        self._world = world
        self._members: Members = members_of(world, network)
        self._sets: dict[str, frozenset[str]] = {}
        self._rules: list[str] = []
        self._external: list[str] = []

    def run(self) -> PolicyRules:
        self._system_stacks()
        for number, rule in enumerate(self._policy.rules):
            match rule:
                case Within("stack", allow):
                    self._groups(f"{number}/stack", self._user_stacks(), allow)
                case Within("service", allow):
                    self._groups(f"{number}/service", self._user_services(), allow)
                case Within(_, allow):
                    self._linked(number, allow)
                case Between():
                    self._groups(f"{number}/between", self._labelled(rule), rule.allow)
                case FromTo():
                    self._from_to(number, rule)
                case FromOutside():
                    self._from_outside(number, rule)
        local = self._set("default", self._members.local_user)
        if local:
            self._rules.append(f"-m set --match-set {local} dst -j {_target(self._policy.default_allow)}")
        return PolicyRules(self._sets, tuple(self._rules), tuple(self._external))

    def _system_stacks(self) -> None:
        """What the platform itself sends is never stopped: health checks, balancing, routing."""
        for uuid, stack in sorted(self._world.stacks.items()):
            if not stack.system:
                continue
            sources = self._set(f"system/{uuid}", self._members.of_stack.get(uuid, ()), prefix=SYSTEM_PREFIX)
            if sources:
                self._rules.append(f"-m set --match-set {sources} src -j RETURN")

    def _groups(self, name: str, groups: Iterable[tuple[str, frozenset[str]]], allow: bool) -> None:
        """Within each group everybody may (or may not) reach everybody."""
        for group, addresses in groups:
            target = self._set(f"{name}/{group}/to", addresses & self._members.local)
            source = self._set(f"{name}/{group}/from", addresses) if target else ""
            if target and source:
                self._rules.append(_match(target, source) + f"-j {_target(allow)}")

    def _user_stacks(self) -> Iterator[tuple[str, frozenset[str]]]:
        for uuid, addresses in sorted(self._members.of_stack.items()):
            stack = self._world.stacks.get(uuid)
            if stack is None or not stack.system:
                yield uuid, frozenset(addresses)

    def _user_services(self) -> Iterator[tuple[str, frozenset[str]]]:
        """A service's sidekicks have its uuid, so they are part of it."""
        own = frozenset(each.primary_ip for each in self._members.own if each.primary_ip and not each.system)
        for uuid, addresses in sorted(self._members.of_service.items()):
            if addresses & own:
                yield uuid, frozenset(addresses) & own

    def _labelled(self, rule: Between) -> Iterator[tuple[str, frozenset[str]]]:
        chosen = [each for each in self._members.own if not each.system]
        if rule.selector is not None:
            chosen = [each for each in chosen if rule.selector.matches(each.labels)]
        if not rule.group_by:
            yield "selected", self._members.addresses(chosen)
            return
        values: defaultdict[str, list[Container]] = defaultdict(list)
        for container in chosen:
            if value := container.labels.get(rule.group_by):
                values[value].append(container)
        for value, containers in sorted(values.items()):
            yield f"{rule.group_by}={value}", self._members.addresses(containers)

    def _linked(self, number: int, allow: bool) -> None:
        for link in links_of(self._world, self._members):
            self._directed(f"{number}/linked/{link.name}", link.sources, link.targets, (), allow)

    def _from_to(self, number: int, rule: FromTo) -> None:
        self._directed(
            f"{number}/from-to", self._selected(rule.source), self._selected(rule.target), rule.ports, rule.allow
        )

    def _directed(
        self, name: str, sources: frozenset[str], targets: frozenset[str], ports: tuple[Port, ...], allow: bool
    ) -> None:
        """Who may open connections to whom; answers belong to what was opened."""
        local_targets = self._set(f"{name}/to", targets & self._members.local)
        if local_targets and (source := self._set(f"{name}/from", sources)):
            # A refusal must not catch the answers to what the other side opened.
            state = STARTED if allow else ORIGINAL
            for port in _each_port(ports, "dport"):
                self._rules.append(f"{port}{_match(local_targets, source)}{state} -j {_target(allow)}")
        if not allow:
            return
        local_sources = self._set(f"{name}/back", sources & self._members.local)
        if local_sources and (answering := self._set(f"{name}/back-from", targets)):
            for port in _each_port(ports, "sport"):
                self._rules.append(f"{port}{_match(local_sources, answering)}{ANSWERED} -j RETURN")

    def _from_outside(self, number: int, rule: FromOutside) -> None:
        target = self._set(f"{number}/outside", self._selected(rule.target) & self._members.local)
        if not target:
            return
        for source in rule.sources or ("",):
            sender = f"-s {source} " if source else ""
            for port in _each_port(rule.ports, "dport"):
                self._external.append(f"{sender}{port}-m set --match-set {target} dst -j {_target(rule.allow)}")

    def _selected(self, selector: Selector) -> frozenset[str]:
        return self._members.addresses(
            each for each in self._members.own if not each.system and selector.matches(each.labels)
        )

    def _set(self, identity: str, addresses: Iterable[str], *, prefix: str = USER_PREFIX) -> str:
        """The name of a set of these addresses; empty when there are none, for then no rule is needed."""
        held = frozenset(addresses)
        if not held:
            return ""
        name = prefix + hashlib.sha256(identity.encode()).hexdigest()[:HASH_DIGITS]
        self._sets[name] = held
        return name


def _match(target: str, source: str) -> str:
    return f"-m set --match-set {target} dst -m set --match-set {source} src "


def _each_port(ports: tuple[Port, ...], side: str) -> list[str]:
    return [f"-p {each.protocol} -m {each.protocol} --{side} {each.number} " for each in ports] or [""]


def _target(allow: bool) -> str:
    return "RETURN" if allow else "DROP"
