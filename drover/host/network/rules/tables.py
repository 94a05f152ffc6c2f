"""Rules as values: chains by table, the hooks that lead into them, and their text for `iptables-restore`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

TABLES = ("raw", "nat", "filter")

RAW_PREROUTING = "CATTLE_RAW_PREROUTING"
PREROUTING = "CATTLE_PREROUTING"
OUTPUT = "CATTLE_OUTPUT"
NAT_POSTROUTING = "CATTLE_NAT_POSTROUTING"
HOSTPORTS_POSTROUTING = "CATTLE_HOSTPORTS_POSTROUTING"
FORWARD = "CATTLE_FORWARD"
INPUT = "CATTLE_INPUT"
NETWORK_POLICY = "CATTLE_NETWORK_POLICY"
EXTERNAL_POLICY = "CATTLE_EXTERNAL_POLICY"

OWN_CHAINS: Mapping[str, tuple[str, ...]] = {
    "raw": (RAW_PREROUTING,),
    # The last one was used before Rancher 1.6; what an upgrade left of it goes with a clean-up.
    "nat": (PREROUTING, OUTPUT, NAT_POSTROUTING, HOSTPORTS_POSTROUTING, "CATTLE_POSTROUTING"),
    "filter": (FORWARD, INPUT, NETWORK_POLICY, EXTERNAL_POLICY),
}
"""Every chain that is ours alone."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The chains that one part of the program fills: applied together, in one document.

    `chains`: table -> chain -> rules without `-A CHAIN`.
    """

    name: str
    chains: Mapping[str, Mapping[str, Sequence[str]]]

    def text(self) -> str:
        """The document: each chain is made, emptied and filled in one step of the kernel."""
        lines: list[str] = []
        for table in TABLES:
            chains = self.chains.get(table)
            if not chains:
                continue
            lines.append(f"*{table}")
            lines += [f":{chain} - " for chain in chains]
            lines += [f"-F {chain}" for chain in chains]
            lines += [f"-A {chain} {rule}" for chain, rules in chains.items() for rule in rules]
            lines.append("COMMIT")
        return "\n".join(lines) + "\n"

    def rules(self, table: str) -> list[str]:
        """All rules of a table as text, for tests and people."""
        return [f"-A {chain} {rule}" for chain, rules in self.chains.get(table, {}).items() for rule in rules]


@dataclass(frozen=True, slots=True)
class Hook:
    """A jump from a chain of the kernel into one of ours. Hooks of a chain stand first in it, in their order."""

    table: str
    chain: str
    rule: str

    @property
    def target(self) -> str:
        return self.rule.rpartition(" ")[2]


@dataclass(frozen=True, slots=True)
class Dump:
    """What the kernel holds: table -> chain -> rules, as `iptables-save` prints them."""

    tables: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    def chain(self, table: str, chain: str) -> tuple[str, ...] | None:
        """None when there is no such chain."""
        return self.tables.get(table, {}).get(chain)


def parse_dump(text: str) -> Dump:
    tables: dict[str, dict[str, list[str]]] = {}
    current: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            current = tables.setdefault(line[1:].strip(), {})
        elif line.startswith(":"):
            current.setdefault(line[1:].split(" ", 1)[0], [])
        elif line.startswith("-A "):
            chain, _, rule = line[3:].partition(" ")
            current.setdefault(chain, []).append(rule)
    return Dump({table: {chain: tuple(rules) for chain, rules in chains.items()} for table, chains in tables.items()})


def hook_repair(dump: Dump, hooks: Iterable[Hook]) -> str:
    """The document that puts the hooks first in their chains; empty when they are.

    Ours are inserted before surplus ones are deleted, and the kernel takes both in one step: there is no moment
    without them.
    """
    wanted: dict[tuple[str, str], list[Hook]] = {}
    for hook in hooks:
        wanted.setdefault((hook.table, hook.chain), []).append(hook)
    for table, chains in OWN_CHAINS.items():
        # A hook that is no longer wanted is surplus as well.
        for chain, rules in dump.tables.get(table, {}).items():
            if any(_target(rule) in chains for rule in rules) and chain not in chains:
                wanted.setdefault((table, chain), [])
    lines: dict[str, list[str]] = {}
    for (table, chain), own in wanted.items():
        present = dump.chain(table, chain) or ()
        repair = _repair_chain(chain, present, [hook.rule for hook in own], frozenset(OWN_CHAINS[table]))
        if repair:
            lines.setdefault(table, []).extend(repair)
    return "".join(f"*{table}\n" + "\n".join(each) + "\nCOMMIT\n" for table, each in lines.items())


def _repair_chain(chain: str, present: Sequence[str], wanted: Sequence[str], targets: frozenset[str]) -> list[str]:
    ours = [position for position, rule in enumerate(present) if _target(rule) in targets]
    if list(present[: len(wanted)]) == list(wanted) and len(ours) == len(wanted):
        return []
    lines = [f"-I {chain} {number} {rule}" for number, rule in enumerate(wanted, start=1)]
    # From the end, so that the numbers of those before stay right.
    return lines + [f"-D {chain} {position + 1 + len(wanted)}" for position in reversed(ours)]


def removal(dump: Dump) -> str:
    """The document that takes every chain and hook of ours away."""
    parts: list[str] = []
    for table, own in OWN_CHAINS.items():
        chains = dump.tables.get(table, {})
        lines = [
            f"-D {chain} {position + 1}"
            for chain, rules in chains.items()
            if chain not in own
            for position in reversed(range(len(rules)))
            if _target(rules[position]) in own
        ]
        existing = [chain for chain in own if chain in chains]
        lines += [f"-F {chain}" for chain in existing] + [f"-X {chain}" for chain in existing]
        if lines:
            parts.append(f"*{table}\n" + "\n".join(lines) + "\nCOMMIT\n")
    return "".join(parts)


def _target(rule: str) -> str:
    words = rule.split()
    return words[words.index("-j") + 1] if "-j" in words[:-1] else ""
