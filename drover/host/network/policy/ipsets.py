"""Sets of addresses in the kernel: filled aside and swapped in, so that no packet meets a half-filled one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drover.host.network.commands import run
from drover.host.network.policy.translate import SYSTEM_PREFIX, USER_PREFIX

TEMPORARY = "TMP-"
OURS = (USER_PREFIX, SYSTEM_PREFIX, TEMPORARY + USER_PREFIX, TEMPORARY + SYSTEM_PREFIX)


class Ipsets:
    """Remembers what it has filled, so an unchanged set costs nothing. `enter` is put before every command."""

    def __init__(self, *, enter: Sequence[str] = ()) -> None:
        self._enter = tuple(enter)
        self._filled: dict[str, frozenset[str]] = {}

    def forget(self) -> None:
        """The next `fill` fills everything again."""
        self._filled.clear()

    async def fill(self, sets: Mapping[str, frozenset[str]]) -> None:
        """Makes or changes these sets in one batch; others stay, rules may still name them. Raises CommandError."""
        changed = {name: members for name, members in sets.items() if self._filled.get(name) != members}
        if not changed:
            return
        lines: list[str] = []
        for name, members in sorted(changed.items()):
            temporary = TEMPORARY + name
            size = max(1024, 1 << (len(members) * 2).bit_length())
            lines += [
                f"create -exist {name} hash:ip family inet",
                f"create -exist {temporary} hash:ip family inet maxelem {max(65536, size)}",
                f"flush {temporary}",
                *(f"add -exist {temporary} {address}" for address in sorted(members)),
                f"swap {temporary} {name}",
                f"destroy {temporary}",
            ]
        await run(*self._enter, "ipset", "restore", stdin="\n".join(lines) + "\n")
        self._filled |= changed

    async def drop_others(self, wanted: Mapping[str, frozenset[str]]) -> None:
        """Destroys sets of ours that no rule names any more; call it after the rules were applied."""
        present = (await run(*self._enter, "ipset", "list", "-name")).split()
        surplus = [name for name in present if name.startswith(OURS) and name not in wanted]
        for name in surplus:
            self._filled.pop(name, None)
        if surplus:
            await run(*self._enter, "ipset", "restore", stdin="".join(f"destroy {name}\n" for name in surplus))
