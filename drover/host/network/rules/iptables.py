"""Applying rules with the packet filter's own back end, and keeping them applied.

The back end (legacy or nft) must be the one that the engine uses: rules in the other one look installed, but a DROP
in either wins. A document is applied only when it differs from the last one, or when the kernel no longer holds what
it held right after that one was applied.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Sequence

import structlog

from drover.host.network.commands import CommandError, run
from drover.host.network.names import DISABLE_HOST_NAT_SET
from drover.host.network.rules.tables import Dump, Hook, Owner, hook_repair, parse_dump, removal

log = structlog.get_logger(__name__)

BACKENDS = ("iptables-nft", "iptables-legacy")
DEFAULT_BACKEND = "iptables"
ENGINE_CHAIN = "DOCKER"


class Firewall:
    """This host's packet filter. `enter` is put before every command, for tests in namespaces."""

    def __init__(self, *, enter: Sequence[str] = ()) -> None:
        self._enter = tuple(enter)
        self._backend = ""
        self._applied: dict[str, str] = {}
        self._seen: dict[tuple[str, str], tuple[str, ...]] = {}
        self._lock = asyncio.Lock()
        self.last_error = ""

    @property
    def backend(self) -> str:
        return self._backend

    async def detect(self) -> str:
        """The back end in which the engine's chain lives; the machine's default when there is none."""
        candidates = [each for each in BACKENDS if shutil.which(f"{each}-save")]
        found = [each for each in candidates if await self._has_engine(each)]
        chosen = found[0] if found else DEFAULT_BACKEND
        if chosen != self._backend:
            log.info("iptables.backend", backend=chosen, engine_chain=bool(found))
            self._backend = chosen
            self.forget()
        return chosen

    def forget(self) -> None:
        """The next `apply` applies everything again."""
        self._applied.clear()
        self._seen.clear()

    async def apply(self, owners: Iterable[Owner], hooks: Sequence[Hook], *, verify: bool) -> bool:
        """Brings rules and hooks there; returns whether anything had to change. Raises CommandError.

        Without `verify` the kernel is looked at only when a document changed.
        """
        async with self._lock:
            return await self._apply(list(owners), hooks, verify=verify)

    async def dump(self) -> Dump:
        return parse_dump(await run(*self._enter, f"{self._backend or await self.detect()}-save"))

    async def remove_all(self) -> None:
        """Takes every chain and hook away, in whatever back end they are."""
        async with self._lock:
            for backend in [each for each in BACKENDS if shutil.which(f"{each}-save")] or [DEFAULT_BACKEND]:
                dump = parse_dump(await run(*self._enter, f"{backend}-save"))
                document = removal(dump)
                if document:
                    await self._restore(document, backend)
            self.forget()

    async def _apply(self, owners: list[Owner], hooks: Sequence[Hook], *, verify: bool) -> bool:
        if not self._backend:
            await self.detect()
        changed = [each for each in owners if self._applied.get(each.name) != each.text()]
        await self._restore_owners(changed)
        if not changed and not verify:
            return False
        dump = await self.dump()
        lost = [each for each in owners if each not in changed and self._differs(each, dump)]
        if lost:
            log.warning("iptables.restored", owners=[each.name for each in lost], reason="the rules were changed")
            await self._restore_owners(lost)
            dump = await self.dump()
        for each in (*changed, *lost):
            for table, chains in each.chains.items():
                self._seen |= {(table, chain): dump.chain(table, chain) or () for chain in chains}
        repair = hook_repair(dump, hooks)
        if repair:
            await self._restore(repair, self._backend)
            log.info("iptables.hooked", chains=sorted({hook.target for hook in hooks}))
        return bool(changed or lost or repair)

    def _differs(self, owner: Owner, dump: Dump) -> bool:
        return any(
            dump.chain(table, chain) != self._seen.get((table, chain))
            for table, chains in owner.chains.items()
            for chain in chains
        )

    async def _restore_owners(self, owners: Iterable[Owner]) -> None:
        for each in owners:
            text = each.text()
            await self._restore(text, self._backend)
            self._applied[each.name] = text

    async def _restore(self, document: str, backend: str) -> None:
        try:
            await run(*self._enter, f"{backend}-restore", "--noflush", "--wait", stdin=document)
            self.last_error = ""
        except CommandError as error:
            self.last_error = str(error)
            raise

    async def _has_engine(self, backend: str) -> bool:
        try:
            dump = parse_dump(await run(*self._enter, f"{backend}-save"))
        except CommandError:
            return False
        return any(ENGINE_CHAIN in chains for chains in dump.tables.values())

    async def ensure_set(self) -> None:
        """The set that the host NAT's rules name; whoever routes without translation fills it."""
        await run(*self._enter, "ipset", "create", "-exist", DISABLE_HOST_NAT_SET, "hash:net")
