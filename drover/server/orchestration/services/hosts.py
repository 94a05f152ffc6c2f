"""The hosts of each environment, in memory and current: what global services are planned over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from drover.server.orchestration.services.spec import ServiceSpec
from drover.server.store import Record, Store, Touched

_SERVING = frozenset({"activating", "active", "updating-active"})
_CONNECTED = frozenset({"", "active", "activating", "reconnected", "finishing-reconnect"})
_LOST = frozenset({"reconnecting", "disconnecting", "disconnected"})
_HOST_LABELS = ("io.rancher.scheduler.affinity:host_label", "io.rancher.scheduler.affinity:host_label_soft")
_HOST_LABELS_NOT = ("io.rancher.scheduler.affinity:host_label_ne", "io.rancher.scheduler.affinity:host_label_soft_ne")


class HostsView:
    """Hosts by environment. ``agentState`` is part of the host row, so one table tells everything."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hosts: dict[int, dict[int, Record]] = defaultdict(dict)

    async def start(self) -> None:
        for host in await self._store.find_by("host", removed=None):
            self.see(host)

    def hear(self, touched: Sequence[Touched]) -> set[int]:
        """Follow the commits; returns the environments whose hosts changed in a way that planning may notice."""
        changed: set[int] = set()
        for row in touched:
            if row.type != "host" or row.after is None:
                continue
            self.see(row.after)
            noticed = row.before is None or any(
                row.changed(each) for each in ("state", "agentState", "labels", "removed")
            )
            if noticed and row.after.account_id is not None:
                changed.add(row.after.account_id)
        return changed

    def see(self, host: Record) -> None:
        hosts = self._hosts[int(host["accountId"] or 0)]
        if host["removed"] or host.state in ("removed", "purged"):
            hosts.pop(host.id, None)
        else:
            hosts[host.id] = host

    def serving(self, account_id: int) -> list[Record]:
        """Hosts that may get containers now."""
        hosts = self._hosts.get(account_id, {}).values()
        return [h for h in hosts if h.state in _SERVING and str(h["agentState"] or "") in _CONNECTED]

    def lost(self, account_id: int) -> set[int]:
        """Hosts whose agent is away, or that are being removed."""
        hosts = self._hosts.get(account_id, {}).values()
        return {
            h.id for h in hosts if str(h["agentState"] or "") in _LOST or h.state in ("removing", "erroring", "error")
        }

    def for_global(self, spec: ServiceSpec) -> set[int]:
        """The hosts that a global service must run on: soft host label rules count as hard here."""
        rules = [(key, value) for config in spec.configs for key, value in config.labels.items()]
        return {host.id for host in self.serving(spec.account_id) if _satisfies(host, rules)}


def _satisfies(host: Record, rules: Sequence[tuple[str, str]]) -> bool:
    labels = {str(k).lower(): str(v).lower() for k, v in (host["labels"] or {}).items()}
    for key, value in rules:
        name = key.lower()
        if name in _HOST_LABELS and not all(_has(labels, item) for item in _items(value)):
            return False
        if name in _HOST_LABELS_NOT and any(_has(labels, item) for item in _items(value)):
            return False
    return True


def _items(value: str) -> list[str]:
    return [item.strip().lower() for item in str(value).split(",") if item.strip()]


def _has(labels: Mapping[str, str], item: str) -> bool:
    key, _, value = item.partition("=")
    return labels.get(key.strip()) == value.strip()
