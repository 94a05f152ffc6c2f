"""HAProxy as provider: changes of servers through its Runtime API, everything else by a seamless reload.

The configuration file is always written too, so that a restart gives the same state. A new file is checked by HAProxy
itself before it replaces the last good one. HAProxy runs as master and worker in a session of its own: it survives
this program, and is taken over by the next.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from drover.common.backoff import Backoff
from drover.host.balancer.certificates import Bundle, write_folder, write_private
from drover.host.balancer.custom import CustomTextError, parse_custom
from drover.host.balancer.model import Backend, Model, server_name
from drover.host.balancer.plan import Add, Change, Plan, Remove, Step, plan
from drover.host.balancer.process import Daemon, check_output
from drover.host.balancer.provider import Applied, Rejected
from drover.host.balancer.render import MARK, Layout, Renderer
from drover.host.balancer.runtime import Process, Runtime, RuntimeFailed, parse_processes, parse_table

_CHECK_SECONDS = 60.0
_RELOAD_SECONDS = 30.0
_LINGER_SECONDS = 300.0
_REAP_SECONDS = 2.0
_DOWN_STATES = frozenset({"0", "1"})

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Current:
    """What HAProxy does at present."""

    model: Model
    bundle: Bundle


class HAProxy:
    """The provider. ``binary``: the program to run."""

    def __init__(self, layout: Layout, *, binary: str = "haproxy") -> None:
        self._layout = layout
        self._binary = binary
        self._runtime = Runtime(layout.socket)
        self._master = Runtime(layout.master_socket)
        self._daemon: Daemon | None = None
        self._current: _Current | None = None
        self._leaving: dict[tuple[str, str], float] = {}
        self._ready = asyncio.Event()
        self._lock = asyncio.Lock()
        self._reloads = 0
        self._runtime_changes = 0
        self._starts = 0
        self._last_reason = ""

    async def run(self) -> None:
        backoff = Backoff(initial=0.2, maximum=10.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reap())
            while True:
                started = time.monotonic()
                async with self._lock:
                    self._daemon = await self._adopt() or await self._start()
                self._ready.set()
                await self._daemon.ended()
                self._ready.clear()
                if time.monotonic() - started > 60:
                    backoff.reset()
                delay = backoff.next_delay()
                log.error("haproxy.ended", pid=self._daemon.pid, restart_in=round(delay, 2))
                await asyncio.sleep(delay)

    async def ready(self) -> None:
        await self._ready.wait()

    async def stop(self, grace: float) -> None:
        if self._daemon is not None:
            await self._daemon.stop(signal.SIGUSR1, grace)

    def status(self) -> Mapping[str, object]:
        model = self._current.model if self._current is not None else None
        return {
            "provider": "haproxy",
            "running": self._daemon is not None and self._daemon.alive,
            "pid": self._daemon.pid if self._daemon is not None else None,
            "starts": self._starts,
            "reloads": self._reloads,
            "lastReloadReason": self._last_reason,
            "runtimeChanges": self._runtime_changes,
            "leaving": len(self._leaving),
            "frontends": len(model.frontends) if model is not None else None,
            "backends": len(model.backends) if model is not None else None,
            "servers": sum(len(each.servers) for each in model.backends) if model is not None else None,
        }

    async def apply(self, model: Model, bundle: Bundle) -> Applied:
        async with self._lock:
            renderer = self._renderer(model, bundle)
            if self._current is None and await self._is_in_force(renderer.text(model), model, bundle):
                self._current = _Current(model, bundle)
                return Applied.NOTHING
            changes = self._plan(model, bundle, renderer)
            renewed = self._renewed(bundle) if not changes.structural else ()
            if not changes and not renewed:
                self._current = _Current(model, bundle)
                return Applied.NOTHING
            if not changes.structural:
                try:
                    await self._change_servers(changes.steps, renderer, model)
                    await self._renew(renewed, bundle)
                except RuntimeFailed as error:
                    changes = Plan(structural=f"a runtime change failed: {error}")
                else:
                    write_private(self._layout.config, renderer.text(model))
                    self._current = _Current(model, bundle)
                    self._runtime_changes += 1
                    return Applied.RUNTIME
            await self._reload(renderer, model, bundle, changes.structural)
            return Applied.RELOAD

    async def sessions(self, address: str) -> int:
        """Sessions with the servers at an address, those of former workers included."""
        name = server_name(address)
        total = 0
        for process in await self._processes():
            if process.kind == "worker":
                with suppress(RuntimeFailed):  # an old worker may end while it is asked
                    total += sum(
                        int(row["scur"] or 0)
                        for row in parse_table(await self._master.ask(f"@!{process.pid} show stat"), separator=",")
                        if row.get("svname") == name
                    )
        return total

    async def server_states(self) -> list[dict[str, str]]:
        """What HAProxy says of its servers (``show servers state``)."""
        return parse_table(await self._runtime.ask("show servers state"))

    def _renderer(self, model: Model, bundle: Bundle, *, certificates: Path | None = None) -> Renderer:
        try:
            custom = parse_custom(model.custom)
        except CustomTextError as error:
            raise Rejected(str(error)) from error
        folder = certificates or self._layout.certificates
        default = folder / bundle.default if bundle.default else None
        return Renderer(replace(self._layout, certificates=folder), custom, default)

    def _plan(self, model: Model, bundle: Bundle, renderer: Renderer) -> Plan:
        if self._current is None:
            return plan(None, model)
        if not self._current.bundle.same_names(bundle):
            return Plan(structural="certificates came or went")
        changes = plan(self._current.model, model)
        backends = {backend.name: backend for backend in model.backends}
        for step in changes.steps:
            backend = backends[step.backend]
            if isinstance(step, Add) and not renderer.has_dynamic_servers(backend):
                return Plan(structural=f"backend {step.backend} takes new servers only by a reload")
            if isinstance(step, Change) and not renderer.has_dynamic_servers(backend) and backend.sticky is None:
                return Plan(structural=f"backend {step.backend} has a fixed order of servers")
        return changes

    async def _adopt(self) -> Daemon | None:
        """The HAProxy that a former controller left behind, if it still runs."""
        if not self._layout.master_socket.exists():
            return None
        with suppress(RuntimeFailed):
            for process in await self._processes():
                if process.kind == "master":
                    log.info("haproxy.adopted", pid=process.pid)
                    return Daemon(process.pid)
        return None

    async def _start(self) -> Daemon:
        """With the last good configuration, so that a container that is started again serves at once."""
        layout = self._layout
        for folder in (layout.config.parent, layout.certificates, layout.socket.parent):
            folder.mkdir(parents=True, exist_ok=True)
        layout.state.touch()
        if not await self._has_good_file():
            write_private(layout.config, Renderer(layout, parse_custom("")).text(Model()))
        self._current = None
        self._leaving.clear()
        daemon = Daemon.start(
            (self._binary, "-W", "-db", "-S", f"{layout.master_socket},mode,600", "-f", str(layout.config))
        )
        self._starts += 1
        deadline = time.monotonic() + _RELOAD_SECONDS
        while time.monotonic() < deadline and daemon.alive:
            with suppress(RuntimeFailed):
                await self._runtime.ask("show info")
                log.info("haproxy.started", pid=daemon.pid)
                return daemon
            await asyncio.sleep(0.02)
        log.error("haproxy.start_failed", pid=daemon.pid, alive=daemon.alive)
        await daemon.stop(signal.SIGTERM, 2.0)
        return daemon

    async def _has_good_file(self) -> bool:
        try:
            if not self._layout.config.read_text().startswith(MARK):
                return False
        except OSError:
            return False
        status, _ = await check_output(
            (self._binary, "-c", "-q", "-f", str(self._layout.config)), seconds=_CHECK_SECONDS
        )
        return status == 0

    async def _is_in_force(self, text: str, model: Model, bundle: Bundle) -> bool:
        """Whether an adopted HAProxy already does what is wanted."""
        try:
            if self._layout.config.read_text() != text:
                return False
            folder = self._layout.certificates
            if {path.name: path.read_text() for path in folder.glob("*.pem")} != dict(bundle.files):
                return False
            rows = await self.server_states()
        except (OSError, RuntimeFailed):
            return False
        wanted = {
            (backend.name, server.name, str(server.port), str(server.weight))
            for backend in model.backends
            for server in backend.servers
            if not server.is_hostname
        }
        running = {
            (row["be_name"], row["srv_name"], row["srv_port"], row["srv_uweight"])
            for row in rows
            if row["srv_admin_state"] == "0" and row["srv_fqdn"] == "-"
        }
        return wanted <= running and not {each for each in running - wanted if model.backend(each[0]) is not None}

    async def _change_servers(self, steps: tuple[Step, ...], renderer: Renderer, model: Model) -> None:
        backends = {backend.name: backend for backend in model.backends}
        commands = [command for step in steps for command in self._commands(step, renderer, backends[step.backend])]
        await self._runtime.run(commands)
        now = time.monotonic()
        for step in steps:
            if isinstance(step, Remove):
                self._leaving[step.backend, step.server.name] = now + _LINGER_SECONDS
        log.debug("haproxy.changed", steps=len(steps))

    def _commands(self, step: Step, renderer: Renderer, backend: Backend) -> Iterator[str]:
        server, place = step.server, f"{step.backend}/{step.server.name}"
        match step:
            case Add():
                if self._leaving.pop((step.backend, server.name), None) is not None:
                    yield f"set server {place} addr {server.address} port {server.port}"
                    yield f"set server {place} weight {server.weight}"
                    yield f"set server {place} state ready"
                    return
                parameters = renderer.server_parameters(backend)
                yield " ".join(
                    f"add server {place} {server.address}:{server.port} {parameters} weight {server.weight}".split()
                )
                if "check" in parameters.split():
                    yield f"enable health {place}"
                yield f"enable server {place}"
            case Change(before=before):
                if before.port != server.port:
                    yield f"set server {place} addr {server.address} port {server.port}"
                if before.weight != server.weight:
                    yield f"set server {place} weight {server.weight}"
            case Remove():
                # Under maintenance it gets nothing new, not even from visitors with its cookie; what is under way ends.
                yield f"set server {place} state maint"

    async def _reap(self) -> None:
        """Delete servers that were taken out, as soon as their last session has ended."""
        while True:
            await asyncio.sleep(_REAP_SECONDS)
            if not self._leaving:
                continue
            async with self._lock:
                for (backend, name), deadline in list(self._leaving.items()):
                    await self._reap_one(backend, name, overdue=time.monotonic() > deadline)

    async def _reap_one(self, backend: str, name: str, *, overdue: bool) -> None:
        try:
            if overdue:
                await self._runtime.run([f"shutdown sessions server {backend}/{name}"])
            await self._runtime.run([f"del server {backend}/{name}"])
        except RuntimeFailed as error:
            log.debug("haproxy.server_busy", backend=backend, server=name, reason=str(error))
            if "No such server" not in str(error):
                return
        self._leaving.pop((backend, name), None)

    def _renewed(self, bundle: Bundle) -> tuple[str, ...]:
        current = self._current.bundle.files if self._current is not None else {}
        return tuple(name for name, text in bundle.files.items() if current.get(name) != text)

    async def _renew(self, names: tuple[str, ...], bundle: Bundle) -> None:
        """Replace certificates while HAProxy runs."""
        for name in names:
            path, text = self._layout.certificates / name, bundle.files[name]
            for command, fine in (
                (f"set ssl cert {path} <<\n{text}\n", ("created", "updated")),
                (f"commit ssl cert {path}", ("Success",)),
            ):
                answer = await self._runtime.ask(command)
                if not any(word in answer for word in fine):
                    raise RuntimeFailed(f"certificate {name}: {answer}")
            write_private(path, text)
            log.info("haproxy.certificate_renewed", certificate=name)

    async def _reload(self, renderer: Renderer, model: Model, bundle: Bundle, reason: str) -> None:
        layout = self._layout
        candidates = layout.certificates.with_name("new")
        await asyncio.to_thread(write_folder, candidates, bundle)
        write_private(layout.candidate, self._renderer(model, bundle, certificates=candidates).text(model))
        await self._check()
        await self._keep_states(model)
        await asyncio.to_thread(write_folder, layout.certificates, bundle)
        write_private(layout.config, renderer.text(model))
        before = await self._worker()
        await self._master.ask("reload")
        await self._await_worker(before)
        self._current = _Current(model, bundle)
        self._leaving.clear()
        self._reloads += 1
        self._last_reason = reason
        log.info("haproxy.reloaded", reason=reason)

    async def _check(self) -> None:
        try:
            status, output = await check_output(
                (self._binary, "-c", "-f", str(self._layout.candidate)), seconds=_CHECK_SECONDS
            )
        except TimeoutError:
            raise Rejected(f"HAProxy did not finish checking the configuration in {_CHECK_SECONDS:g} s") from None
        if status != 0:
            alerts = [line for line in output.splitlines() if "[ALERT]" in line] or output.splitlines()
            # The process id differs with every try, and the same fault shall read the same.
            reason = " ".join(re.sub(r"^\[ALERT\]\s+\(\d+\) : ", "", line) for line in alerts)
            raise Rejected(f"HAProxy refuses the configuration: {reason[:2000]}")

    async def _keep_states(self, model: Model) -> None:
        """Servers that are down shall not be tried again just because the configuration is read anew.

        Only that is carried over: weights and maintenance come from the model.
        """
        answer = await self._runtime.ask("show servers state")
        wanted = {
            (backend.name, server.name): server
            for backend in model.backends
            if backend.check is not None
            for server in backend.servers
        }
        lines = answer.splitlines()[:2]
        columns = lines[1][2:].split() if len(lines) > 1 else []
        for row in parse_table(answer):
            server = wanted.get((row["be_name"], row["srv_name"]))
            if server is None or row["srv_op_state"] not in _DOWN_STATES or row["srv_port"] != str(server.port):
                continue
            weight = str(server.weight)
            values = {**row, "srv_admin_state": "0", "srv_uweight": weight, "srv_iweight": weight}
            lines.append(" ".join(values[column] for column in columns))
        write_private(self._layout.state, "\n".join(lines) + "\n")

    async def _processes(self) -> list[Process]:
        return parse_processes(await self._master.ask("show proc"))

    async def _worker(self) -> int | None:
        workers = [each.pid for each in await self._processes() if each.kind == "worker" and each.is_current]
        return workers[0] if workers else None

    async def _await_worker(self, before: int | None) -> None:
        """Wait until the new worker has the sockets."""
        deadline = time.monotonic() + _RELOAD_SECONDS
        while time.monotonic() < deadline:
            await asyncio.sleep(0.02)
            with suppress(RuntimeFailed):
                now = await self._worker()
                if now is not None and now != before and f"Pid: {now}\n" in await self._runtime.ask("show info") + "\n":
                    return
        raise Rejected("HAProxy did not take the new configuration over in time; it goes on with the former one")
