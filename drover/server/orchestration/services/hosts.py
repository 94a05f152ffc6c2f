"""The hosts of each environment, in memory and current: what global services are planned over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from drover.server.orchestration.mirror import Mirror
from drover.server.orchestration.services.spec import ServiceSpec
from drover.server.store import Record, Store

_SERVING = frozenset({"activating", "active", "updating-active"})
_CONNECTED = frozenset({"", "active", "activating", "reconnected", "finishing-reconnect"})
_LOST = frozenset({"reconnecting", "disconnecting", "disconnected"})
_LEAVING = frozenset({"removing", "erroring", "error"})
_NOTICED = ("state", "agentState", "labels")
_HOST_LABELS = ("io.rancher.scheduler.affinity:host_label", "io.rancher.scheduler.affinity:host_label_soft")
_HOST_LABELS_NOT = ("io.rancher.scheduler.affinity:host_label_ne", "io.rancher.scheduler.affinity:host_label_soft_ne")


class HostsView:
    """Hosts by environment. ``agentState`` is part of the host row, so one table tells everything.

    ``changed`` is called with an environment whose hosts changed in a way that planning may notice.
    """

    def __init__(self, store: Store, changed: Callable[[int], None]) -> None:
        self._hosts = Mirror(store, "host", lambda host: host.state not in ("removed", "purged"))
        self._changed = changed

    async def start(self) -> None:
        await self._hosts.ready()
        self._hosts.on_change(self._notice)

    def _notice(self, before: Record | None, after: Record | None) -> None:
        host = after or before
        noticed = before is None or after is None or any(before[each] != after[each] for each in _NOTICED)
        if noticed and host is not None and host.account_id is not None:
            self._changed(host.account_id)

    def serving(self, account_id: int) -> list[Record]:
        """Hosts that may get containers now."""
        hosts = self._hosts.where(accountId=account_id)
        return [h for h in hosts if h.state in _SERVING and str(h["agentState"] or "") in _CONNECTED]

    def lost(self, account_id: int) -> set[int]:
        """Hosts whose agent is away, or that are being removed."""
        hosts = self._hosts.where(accountId=account_id)
        return {h.id for h in hosts if str(h["agentState"] or "") in _LOST or h.state in _LEAVING}

    def existing(self, account_id: int) -> set[int]:
        """All hosts that are there and stay, whether or not they can be reached."""
        return {h.id for h in self._hosts.where(accountId=account_id) if h.state != "removing"}

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
