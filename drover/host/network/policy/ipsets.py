"""Sets of addresses in the kernel: filled aside and swapped in, so that no packet meets a half-filled one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drover.host.network.commands import run
from drover.host.network.names import DISABLE_HOST_NAT_SET
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
        await self._destroy([name for name in await self._present() if name.startswith(OURS) and name not in wanted])

    async def remove_all(self) -> None:
        """Destroys every set of ours; the rules that named them must be gone."""
        await self._destroy(
            [name for name in await self._present() if name.startswith(OURS) or name == DISABLE_HOST_NAT_SET]
        )

    async def _present(self) -> list[str]:
        return (await run(*self._enter, "ipset", "list", "-name")).split()

    async def _destroy(self, names: Sequence[str]) -> None:
        for name in names:
            self._filled.pop(name, None)
        if names:
            await run(*self._enter, "ipset", "restore", stdin="".join(f"destroy {name}\n" for name in names))
