"""Keeps one encrypted tunnel to every peer.

charon is told of every peer at once; nothing waits for a first packet. What charon says has happened is acted on when
it happens, and everything is compared once in a while. A peer without a tunnel is asked again and again, ever more
slowly; one whose tunnel stands but carries nothing back is probed, and only that tunnel is taken down and made again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from drover.common.backoff import Backoff
from drover.host.network.routers import metrics
from drover.host.network.routers.associations import Association, Child, read_associations
from drover.host.network.routers.charon import Charon, CharonFailed
from drover.host.network.routers.connections import (
    Datapath,
    Ends,
    Form,
    Timing,
    connection,
    connection_name,
    first_child,
    host_of,
    secrets,
)
from drover.host.network.routers.iproute import KernelRefused
from drover.host.network.routers.keys import Keys
from drover.host.network.routers.probe import answers_echo
from drover.host.network.routers.renewal import end_later, second_tunnel
from drover.host.network.routers.vici_client import CharonGone, CharonRefused, Vici, connect

log = structlog.get_logger(__name__)

PASSIVE_GRACE_SECONDS = 3.0
"""How long the passive end leaves the first word to the active one."""
ATTEMPT_SECONDS = 20.0
ATTEMPTS_AT_A_TIME = 8
LOADS_A_SECOND = 50
MANY_PEERS = 100
EVENTS = ("ike-updown", "child-updown", "ike-rekey", "child-rekey")


@dataclass(slots=True)
class Tunnel:
    """What is known about the tunnel to one peer."""

    ends: Ends
    since: float
    form: Form | None = None
    association: Association | None = None
    last_error: str | None = None
    failures: int = 0
    next_attempt: float = 0.0
    attempting: bool = False
    to_prove: bool = False
    quiet_out: int | None = None
    quiet_in: int | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(initial=1.0, maximum=60.0, floor=0.5))

    @property
    def child(self) -> Child | None:
        """The association that carries the traffic."""
        up = self.association
        return up.children[0] if up is not None and up.established and up.children else None

    @property
    def connecting(self) -> bool:
        return self.association is not None and not self.association.established


class Tunnels:
    """The tunnels of one router."""

    def __init__(
        self,
        charon: Charon,
        timing: Timing,
        *,
        overrides: Mapping[str, object],
        changed: Callable[[], Awaitable[None]],
        doubt_key: Callable[[], None],
        verify_interval: float,
    ) -> None:
        """`changed` is called when a pair of hosts has agreed on another form, `doubt_key` when a key was refused."""
        self.tunnels: dict[str, Tunnel] = {}
        self.last_error: str | None = None
        self._charon = charon
        self._timing = timing
        self._overrides = overrides
        self._changed = changed
        self._doubt_key = doubt_key
        self._verify_interval = verify_interval
        self._own_router = ""
        self._keys: Keys | None = None
        self._used_key: str | None = None
        self._loaded: dict[str, Ends | None] = {}
        self._loaded_keys: Keys | None = None
        self._wake = asyncio.Event()
        self._wanted = asyncio.Event()
        self._proving = asyncio.Event()
        self._attempts = asyncio.Semaphore(ATTEMPTS_AT_A_TIME)

    def want(self, ends: Mapping[str, Ends], own_router: str) -> None:
        """The peers to have tunnels to, by host address. Those that are not among them are taken down."""
        now = time.monotonic()
        for host, each in ends.items():
            known = self.tunnels.get(host)
            if known is None or known.ends != each:
                self.tunnels[host] = Tunnel(each, now)
        for host in self.tunnels.keys() - ends.keys():
            del self.tunnels[host]
            metrics.forget_peer(host)
        self._own_router = own_router
        self._wanted.set()
        self._wake.set()

    def use(self, keys: Keys) -> None:
        """The keys to use from now on; tunnels that rest on another one are made anew without a break."""
        if keys.keys == (self._keys.keys if self._keys else None):
            return
        self._keys = keys
        for tunnel in self.tunnels.values():
            tunnel.next_attempt = 0.0
            tunnel.backoff.reset()
        self._wake.set()

    def form_of(self, host: str) -> Form | None:
        """What the pair with this host has agreed on; None before."""
        if self._charon.kernel.datapath is Datapath.USERLAND:
            return Form.TUNNEL
        tunnel = self.tunnels.get(host)
        return tunnel.form if tunnel is not None else None

    async def run(self) -> None:
        """Work for ever. When charon is lost, it is started again and told everything anew."""
        await self._wanted.wait()
        waiting = Backoff(initial=0.5, maximum=15.0)
        while True:
            try:
                await self._charon.ensure()
                async with connect(self._charon.socket) as commands, connect(self._charon.socket) as events:
                    self._loaded, self._loaded_keys = {}, None
                    self.last_error = None
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._listen(events))
                        tasks.create_task(self._prove_again())
                        tasks.create_task(self._work(commands, tasks, waiting))
            except* (CharonGone, CharonFailed, TimeoutError) as lost:
                self.last_error = str(lost.exceptions[0]) or "charon did not answer in time"
            delay = waiting.next_delay()
            log.warning("charon.lost", reason=self.last_error, retry_in=round(delay, 2))
            await asyncio.sleep(delay)

    async def _listen(self, vici: Vici) -> None:
        async with aclosing(vici.listen(*EVENTS)) as events:  # type: ignore[type-var]
            async for name, _ in events:
                log.debug("charon.event", name=name)
                self._wake.set()

    async def _work(self, vici: Vici, tasks: asyncio.TaskGroup, waiting: Backoff) -> None:
        await self._forget_strangers(vici)
        verified = 0.0
        while True:
            self._wake.clear()
            await self._load_keys(vici)
            await self._load_connections(vici)
            await self._look(vici)
            waiting.reset()
            if time.monotonic() - verified >= self._verify_interval:
                verified = time.monotonic()
                await self._find_silent(vici)
            now = time.monotonic()
            for tunnel in self.tunnels.values():
                if self._is_due(tunnel, now):
                    tunnel.attempting = True
                    tasks.create_task(self._attempt(tunnel))
            try:
                async with asyncio.timeout(self._pause(now)):
                    await self._wake.wait()
            except TimeoutError:
                continue
            # What happens at the same moment is looked at together; with many peers a look costs more.
            await asyncio.sleep(0.1 if len(self.tunnels) < MANY_PEERS else 1.0)

    def _is_due(self, tunnel: Tunnel, now: float) -> bool:
        if tunnel.attempting or tunnel.child is not None or tunnel.connecting or self._loaded_keys is None:
            return False
        return now >= self._earliest(tunnel)

    def _earliest(self, tunnel: Tunnel) -> float:
        grace = 0.0 if tunnel.ends.active else PASSIVE_GRACE_SECONDS
        return max(tunnel.since + grace, tunnel.next_attempt)

    def _pause(self, now: float) -> float:
        waiting = [
            self._earliest(each) - now for each in self.tunnels.values() if each.child is None and not each.attempting
        ]
        return min([self._verify_interval, *(max(0.2, each) for each in waiting)])

    async def _forget_strangers(self, vici: Vici) -> None:
        """Take down what an adopted charon holds for hosts that are gone."""
        for event in await vici.stream("list-conns", "list-conn"):
            for name in event:
                host = host_of(name)
                if host is not None and host not in self.tunnels:
                    self._loaded[name] = None

    async def _load_keys(self, vici: Vici) -> None:
        keys = self._keys
        if keys is None or keys == self._loaded_keys:
            return
        messages = secrets(self._own_router, keys.keys)
        # The new ones first: at no moment is a key missing that a peer may use.
        for message in reversed(messages):
            await vici.request("load-shared", message)
        valid = {message["id"] for message in messages}
        for name in (await vici.request("get-shared")).get("keys", []):
            if name.startswith("psk-") and name not in valid:
                await vici.request("unload-shared", {"id": name})
        self._loaded_keys = keys
        if self._used_key not in (None, keys.keys[0]):
            for tunnel in self.tunnels.values():
                tunnel.to_prove = tunnel.ends.active
            self._proving.set()
        self._used_key = keys.keys[0]
        log.info("key.loaded", valid=len(keys.keys))

    async def _prove_again(self) -> None:
        """Make the tunnels anew, one after the other, on the key that is used now."""
        while True:
            await self._proving.wait()
            self._proving.clear()
            async with asyncio.TaskGroup() as settling:
                for tunnel in [each for each in self.tunnels.values() if each.to_prove]:
                    tunnel.to_prove = False
                    if tunnel.child is not None and not tunnel.attempting:
                        await self._renew(tunnel, settling)

    async def _renew(self, tunnel: Tunnel, settling: asyncio.TaskGroup) -> None:
        peer = tunnel.ends.peer_host
        try:
            async with connect(self._charon.socket) as vici:
                old = await second_tunnel(vici, tunnel.ends, self._charon.kernel.datapath)
        except (CharonRefused, KernelRefused, TimeoutError) as error:
            # What stands goes on; the next change of keys, or its end, is the next occasion.
            log.warning("tunnel.not-renewed", peer=peer, reason=str(error) or "no answer in time")
            return
        log.info("tunnel.renewed", peer=peer)
        settling.create_task(end_later(self._charon.socket, old))

    async def _load_connections(self, vici: Vici) -> None:
        names = {tunnel.ends.name for tunnel in self.tunnels.values()}
        for tunnel in list(self.tunnels.values()):
            name = tunnel.ends.name
            if self._loaded.get(name) == tunnel.ends:
                continue
            if self._loaded.get(name) is not None:
                # Another router is there now: what stands leads to its predecessor.
                await self._end(vici, name)
            kernel = self._charon.kernel
            message = connection(tunnel.ends, kernel.datapath, self._timing, gcm=kernel.gcm, overrides=self._overrides)
            try:
                await vici.request("load-conn", message)
            except CharonRefused as error:
                tunnel.last_error = f"charon refused the connection: {error}; look at ike.conf and childsa.conf"
                log.warning("connection.refused", peer=tunnel.ends.peer_host, reason=str(error))
            self._loaded[name] = tunnel.ends
            await asyncio.sleep(1 / LOADS_A_SECOND if len(names) > LOADS_A_SECOND else 0)
        for name in self._loaded.keys() - names:
            await self._unload(vici, name)
            del self._loaded[name]

    async def _unload(self, vici: Vici, name: str) -> None:
        try:
            await vici.request("unload-conn", {"name": name})
        except CharonRefused as error:
            log.debug("charon.nothing-to-do", command="unload-conn", name=name, reason=str(error))
        await self._end(vici, name)
        log.info("tunnel.removed", peer=host_of(name))

    async def _end(self, vici: Vici, name: str) -> None:
        """Take down whatever stands of a connection; the other end is told but not waited for."""
        try:
            await vici.request("terminate", {"ike": name, "force": "yes", "timeout": "2000"})
        except CharonRefused as error:
            log.debug("charon.nothing-to-do", command="terminate", name=name, reason=str(error))

    async def _look(self, vici: Vici) -> None:
        """Take in what stands; tell when a pair of hosts has agreed on another form."""
        found = read_associations(await vici.stream("list-sas", "list-sa"))
        agreed = False
        up = 0
        for host, tunnel in self.tunnels.items():
            before = tunnel.child
            tunnel.association = next(iter(found.get(connection_name(host), ())), None)
            child = tunnel.child
            if child is None:
                if before is not None:
                    log.info("tunnel.down", peer=host)
                continue
            up += 1
            if before is None:
                log.info("tunnel.up", peer=host, form=child.form.value)
                tunnel.last_error, tunnel.failures = None, 0
                tunnel.backoff.reset()
            if tunnel.form is not child.form:
                tunnel.form = child.form
                agreed = True
                await self._follow_form(vici, tunnel, child)
        metrics.TUNNELS.set(up)
        if agreed:
            await self._changed()

    async def _follow_form(self, vici: Vici, tunnel: Tunnel, child: Child) -> None:
        """The other end lives in user space and has narrowed what we asked for: ask for the tunnel itself."""
        if child.form is Form.TUNNEL and child.name.startswith("child-"):
            await vici.request("terminate", {"child-id": child.number, "force": "yes", "timeout": "2000"})
            tunnel.next_attempt = 0.0
            self._wake.set()

    async def _attempt(self, tunnel: Tunnel) -> None:
        """Ask one peer for a tunnel, over a connection of its own: charon answers when the peer has."""
        ends = tunnel.ends
        message = {
            "ike": ends.name,
            "child": first_child(ends, self._charon.kernel.datapath, tunnel.form),
            "timeout": str(int(ATTEMPT_SECONDS * 1000)),
            "loglevel": "1",
        }
        try:
            async with self._attempts, connect(self._charon.socket) as vici:
                if tunnel.association is not None:
                    # It carries nothing, and charon would make another one beside it.
                    await self._end(vici, ends.name)
                await vici.stream("initiate", "control-log", message, timeout=ATTEMPT_SECONDS + 5)
        except CharonRefused as error:
            tunnel.last_error = reason(error)
            tunnel.failures += 1
            delay = tunnel.backoff.next_delay()
            tunnel.next_attempt = time.monotonic() + delay
            metrics.TUNNEL_FAILURES.inc()
            log.warning("tunnel.failed", peer=ends.peer_host, reason=tunnel.last_error, retry_in=round(delay, 1))
            if "AUTHENTICATION_FAILED" in " ".join((*error.log, str(error))):
                self._doubt_key()
        except TimeoutError:
            tunnel.last_error = "charon did not say how the attempt ended"
            tunnel.next_attempt = time.monotonic() + tunnel.backoff.next_delay()
        finally:
            tunnel.attempting = False
            self._wake.set()

    async def _find_silent(self, vici: Vici) -> None:
        """Tunnels that have sent and received nothing since the last look are probed, and made anew if dead."""
        suspects = []
        for tunnel in self.tunnels.values():
            child = tunnel.child
            if child is None:
                tunnel.quiet_out = tunnel.quiet_in = None
                continue
            metrics.PEER_BYTES_IN.labels(tunnel.ends.peer_host).set(child.bytes_in)
            metrics.PEER_BYTES_OUT.labels(tunnel.ends.peer_host).set(child.bytes_out)
            sends = tunnel.quiet_out is not None and child.packets_out > tunnel.quiet_out
            if sends and child.packets_in == tunnel.quiet_in:
                suspects.append(tunnel)
            tunnel.quiet_out, tunnel.quiet_in = child.packets_out, child.packets_in
        for tunnel in suspects:
            if await answers_echo(tunnel.ends.peer_router, tries=3, timeout=1.0):
                continue
            log.warning("tunnel.dead", peer=tunnel.ends.peer_host)
            tunnel.last_error = "the tunnel stood but nothing came back"
            await self._end(vici, tunnel.ends.name)
            tunnel.association = None
            tunnel.next_attempt = 0.0

    def report(self) -> list[dict[str, object]]:
        """For /status: one entry a peer."""
        return [_report(tunnel) for tunnel in self.tunnels.values()]


def reason(error: CharonRefused) -> str:
    """What a person needs from the log of a failed attempt: the peer's notification, else charon's last words."""
    for line in reversed(error.log):
        if "notify" in line or "giving up" in line or "no shared key" in line or "MAC mismatched" in line:
            return line
    return str(error)


def _report(tunnel: Tunnel) -> dict[str, object]:
    child, up = tunnel.child, tunnel.association
    return {
        "host": tunnel.ends.peer_host,
        "router": tunnel.ends.peer_router,
        "up": child is not None,
        "form": tunnel.form.value if tunnel.form else None,
        "established_seconds": up.age if up is not None and up.established else None,
        "keyed_seconds": child.age if child else None,
        "bytes_in": child.bytes_in if child else 0,
        "bytes_out": child.bytes_out if child else 0,
        "last_received_seconds": child.last_in if child else None,
        "failures": tunnel.failures,
        "last_error": tunnel.last_error,
    }
