"""Apply a compose project: make the environment what the files say.

The order of work: stack, volume templates and secrets; then all new services, stopped; then links; then upgrades and
starts, each service as soon as those it depends on are up. Links may be circular because both ends exist by then.
Every step looks at what is and does what is missing, so applying again after a failure goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from drover.client.errors import ClientError
from drover.client.plan import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_INTERVAL_MILLIS,
    ApplyPlan,
    Mode,
    ServiceStep,
    Step,
)
from drover.client.resource import Resource
from drover.client.resource_api import ResourceApi
from drover.client.wait import in_state, settled
from drover.common.errors import DroverError
from drover.common.together import together
from drover.compose import (
    Reference,
    SecretRef,
    ServiceRef,
    references,
    resolve,
    upgrade_launch_configs,
)
from drover.compose.references import Body

_UPGRADABLE = ("active", "inactive")
_STARTED = ("active", "upgraded")


class Phase(Enum):
    """What is being done with a service."""

    WAITING = "waiting"
    CREATING = "creating"
    LINKING = "linking"
    PULLING = "pulling images"
    UPDATING = "updating"
    UPGRADING = "upgrading"
    FINISHING = "finishing upgrade"
    ROLLING_BACK = "rolling back"
    STARTING = "starting"
    HEALTH = "waiting for health"
    REMOVING = "removing"
    DONE = "done"
    FAILED = "failed"


Report = Callable[[str, Phase, str], None]
"""Called with the service's name, the phase it enters, and a text (why it failed, which service it waits for)."""


class ApplyError(ClientError):
    """Some services could not be brought up; the others were. `failures` maps names to what happened."""

    def __init__(self, failures: Mapping[str, DroverError]) -> None:
        self.failures = dict(failures)
        super().__init__("; ".join(f"{name}: {error}" for name, error in failures.items()))


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome: the stack and its services by name, as they are now."""

    stack: Resource
    services: Mapping[str, Resource]


async def apply(api: ResourceApi, plan: ApplyPlan, *, report: Report = lambda *_: None) -> Applied:
    """Carry out a plan. Raises ApplyError when services failed, other ClientErrors when the stack itself did."""
    stack = plan.stack or await _create_stack(api, plan)
    return await _Run(api, plan, stack, report).run()


async def _create_stack(api: ResourceApi, plan: ApplyPlan) -> Resource:
    body: dict[str, Any] = {"name": plan.project.name}
    if plan.options.description:
        body["description"] = plan.options.description
    return await api.wait(await api.create("stack", body), settled)


@dataclass(slots=True)
class _Run:
    """State of one application: ids and resources known so far, and who failed."""

    api: ResourceApi
    plan: ApplyPlan
    stack: Resource
    report: Report
    ids: dict[Reference, str] = field(default_factory=dict)
    services: dict[str, Resource] = field(default_factory=dict)
    failures: dict[str, DroverError] = field(default_factory=dict)

    async def run(self) -> Applied:
        self.ids.update(self.plan.ids)
        self.services = {step.name: step.live for step in self.plan.steps if step.live is not None}
        await self._create_volumes_and_secrets()
        await self._create_services()
        await self._set_all_links()
        await self._bring_up()
        await self._prune()
        if self.failures:
            raise ApplyError(self.failures)
        return Applied(self.stack, self.services)

    async def _create_volumes_and_secrets(self) -> None:
        await together(
            self.api.create("volumeTemplate", {**body, "stackId": self.stack.id}) for body in self.plan.volumes
        )
        await together(self._create_secret(name) for name in self.plan.secrets)

    async def _create_secret(self, name: str) -> None:
        content = self.plan.project.secrets[name].content or b""
        value = base64.b64encode(content).decode("ascii")
        created = await self.api.wait(await self.api.create("secret", {"name": name, "value": value}), settled)
        self.ids[SecretRef(name)] = created.id

    async def _create_services(self) -> None:
        """New services in groups: a balancer's rules need the ids of their targets."""
        waiting = {step.name: step for step in self.plan.steps if step.step is Step.CREATE}
        while waiting:
            ready = [step for step in waiting.values() if not self._unknown(step)]
            for step in ready:
                del waiting[step.name]
            await together(self._guard(step.name, self._create(step)) for step in ready)
            if not ready:
                # What is left refers to a service that failed, or in a circle.
                for step in waiting.values():
                    reason = ", ".join(sorted(self._unknown(step)))
                    self._fail(step.name, ClientError(f"not created, because it needs {reason}"))
                return

    def _unknown(self, step: ServiceStep) -> set[str]:
        """Services of this stack that the body refers to and that have no id yet."""
        found = {ref for ref in references(step.plan.body) if isinstance(ref, ServiceRef) and ref not in self.ids}
        return {ref.name for ref in found}

    async def _create(self, step: ServiceStep) -> None:
        self.report(step.name, Phase.CREATING, "")
        body = {**self._body(step), "stackId": self.stack.id, "startOnCreate": False}
        created = await self.api.create(step.plan.kind.value, body)
        self.ids[ServiceRef(step.name)] = created.id
        self.services[step.name] = await self.api.wait(created, settled)

    async def _set_all_links(self) -> None:
        present = [step for step in self.plan.steps if step.name in self.services and step.name not in self.failures]
        await together(self._guard(step.name, self._set_links(step)) for step in present if self._links_differ(step))

    def _links_differ(self, step: ServiceStep) -> bool:
        """New services get their links; existing ones when the files are to win, or when they have none yet."""
        if step.plan.links is None or step.step is Step.ROLLBACK:
            return False
        if step.live is None:
            return bool(step.plan.links)
        present = step.live.mapping("linkedServices")
        if present and step.step not in (Step.UPDATE, Step.UPGRADE) and self.plan.options.mode is Mode.KEEP:
            return False
        wanted = {link.name: self.ids.get(link.target) for link in step.plan.links if link.target is not None}
        return wanted != dict(present)

    async def _set_links(self, step: ServiceStep) -> None:
        links = [
            resolve(link.body(), self.ids.__getitem__)
            for link in step.plan.links or ()
            if link.target is None or link.target in self.ids
        ]
        self.report(step.name, Phase.LINKING, "")
        service = self.services[step.name]
        await self.api.action(service, "setservicelinks", {"serviceLinks": links})
        self.services[step.name] = await self.api.wait(service, settled)

    async def _bring_up(self) -> None:
        """One task a service; it waits for those of its dependencies that this run works on."""
        ready = {step.name: asyncio.Event() for step in self.plan.steps}
        health_wanted = {name for step in self.plan.steps for name in step.plan.wait_for}

        async def one(step: ServiceStep) -> None:
            try:
                if step.name in self.failures or step.name not in self.services:
                    return
                for name in step.plan.depends_on:
                    if name in ready and not ready[name].is_set():
                        self.report(step.name, Phase.WAITING, name)
                        await ready[name].wait()
                if failed := [name for name in step.plan.depends_on if name in self.failures]:
                    self._fail(step.name, ClientError(f"not started, because {', '.join(failed)} failed"))
                    return
                needs_health = step.plan.wait_for_health or step.name in health_wanted
                await self._guard(step.name, self._bring_up_one(step, needs_health=needs_health))
            finally:
                ready[step.name].set()

        await together(one(step) for step in self.plan.steps)

    async def _bring_up_one(self, step: ServiceStep, *, needs_health: bool) -> None:
        service = await self.api.wait(self.services[step.name], settled)
        options = self.plan.options
        chosen = options.services is None or step.name in options.services
        if step.step is Step.ROLLBACK:
            service = await self._roll_back(step, service)
        elif step.step in (Step.UPDATE, Step.UPGRADE):
            service = await self._upgrade(step, service)
        if chosen and options.confirm and service.state == "upgraded":
            service = await self._finish_upgrade(step, service)
        if chosen and self._should_start(step) and "activate" in service.actions:
            self.report(step.name, Phase.STARTING, "")
            await self.api.action(service, "activate")
            service = await self._settle(service, *_STARTED)
        if chosen and needs_health and service.state in _STARTED:
            self.report(step.name, Phase.HEALTH, "")
            service = await self.api.wait(service, in_state("healthy"))
        self.services[step.name] = service
        self.report(step.name, Phase.DONE, service.shown_state)

    def _should_start(self, step: ServiceStep) -> bool:
        """A file may say `start_on_create: false`; that counts for the service it creates, not for later runs."""
        if not self.plan.options.start or step.step is Step.ROLLBACK:
            return False
        return step.live is not None or step.plan.body.get("startOnCreate") is not False

    async def _roll_back(self, step: ServiceStep, service: Resource) -> Resource:
        if "rollback" not in service.actions:
            return service
        self.report(step.name, Phase.ROLLING_BACK, "")
        await self.api.action(service, "rollback")
        return await self._settle(service, "active", "inactive")

    async def _upgrade(self, step: ServiceStep, service: Resource) -> Resource:
        if service.state == "upgraded":
            service = await self._finish_upgrade(step, service)
        if service.state not in _UPGRADABLE:
            raise ClientError(
                f"Service {step.name} must be state=active or inactive to upgrade, currently: state={service.state}"
            )
        body = self._body(step)
        change = step.change
        assert change is not None, "only services that exist are upgraded"
        if change.service or change.scale is not None or self.plan.options.mode is Mode.FORCE:
            self.report(step.name, Phase.UPDATING, "")
            service = await self.api.wait(await self.api.update(service, _service_part(body, change.scale)), settled)
        if step.step is not Step.UPGRADE:
            return service
        if self.plan.options.pull:
            await self._pull(step, body)
        self.report(step.name, Phase.UPGRADING, "; ".join(step.details))
        await self.api.action(service, "upgrade", {"inServiceStrategy": self._strategy(step, body)})
        return await self._settle(service, "upgraded", "active", "inactive")

    def _strategy(self, step: ServiceStep, body: Body) -> Body:
        """Flags of the caller come first, then `upgrade_strategy` of the file, then the defaults."""
        assert step.change is not None, "only services that exist are upgraded"
        options, wishes = self.plan.options, step.plan.upgrade
        strategy = {
            "batchSize": options.batch_size or wishes.batch_size or DEFAULT_BATCH_SIZE,
            "intervalMillis": _first_given(options.interval_millis, wishes.interval_millis, DEFAULT_INTERVAL_MILLIS),
            "startFirst": bool(wishes.start_first),
            **upgrade_launch_configs(step.change, body),
        }
        if options.mode is Mode.FORCE:
            strategy["launchConfig"] = body["launchConfig"]
            removed = [config for config in strategy.get("secondaryLaunchConfigs", []) if _is_removed(config)]
            strategy["secondaryLaunchConfigs"] = [*body.get("secondaryLaunchConfigs", []), *removed]
        return strategy

    async def _finish_upgrade(self, step: ServiceStep, service: Resource) -> Resource:
        self.report(step.name, Phase.FINISHING, "")
        await self.api.action(service, "finishupgrade")
        return await self._settle(service, "active", "inactive")

    async def _pull(self, step: ServiceStep, body: Body) -> None:
        """Every image on every host that may run it, so that the upgrade itself does not wait for downloads."""
        self.report(step.name, Phase.PULLING, "")
        configs = [body["launchConfig"], *body.get("secondaryLaunchConfigs", [])]
        labels: dict[str, str] = {}
        for config in configs:
            labels.update(config.get("labels", {}))
        for image in dict.fromkeys(str(config.get("imageUuid", "")) for config in configs):
            if image:
                name = image.removeprefix("docker:")
                task = await self.api.create("pullTask", {"mode": "all", "image": name, "labels": labels})
                _check_pull(name, await self.api.wait(task, settled))

    async def _prune(self) -> None:
        for service in self.plan.removed:
            self.report(service.name, Phase.REMOVING, "")
            await self._guard(service.name, self.api.delete(service))

    async def _settle(self, service: Resource, *states: str) -> Resource:
        """Wait until the process that an action just started is over, and check where it led."""
        found = await self.api.wait(_stale(service), settled)
        if found.state not in states:
            reason = found.transitioning_message or "the server gave no reason"
            raise ClientError(f"{found.label} is {found.state}, expected {' or '.join(states)}: {reason}")
        return found

    def _body(self, step: ServiceStep) -> Body:
        body: Body = resolve(step.plan.body, self.ids.__getitem__)
        return body

    async def _guard(self, name: str, work: Any) -> None:
        """A service that fails does not stop the others."""
        try:
            await work
        except DroverError as error:
            self._fail(name, error)

    def _fail(self, name: str, error: DroverError) -> None:
        self.failures[name] = error
        self.report(name, Phase.FAILED, str(error))


def _service_part(body: Body, scale: int | None) -> Body:
    """The body of an update: launch configs change by upgrades only, the number of containers only on purpose."""
    left_out = ("launchConfig", "secondaryLaunchConfigs", "scale", "startOnCreate", "name")
    part = {key: value for key, value in body.items() if key not in left_out}
    return part if scale is None else {**part, "scale": scale}


def _stale(service: Resource) -> Resource:
    """The resource marked as changing, so that a wait reads it again instead of trusting what was known before."""
    return Resource({**service.fields, "transitioning": "yes"})


def _check_pull(image: str, task: Resource) -> None:
    failed = {host: text for host, text in task.mapping("status").items() if text != "Done"}
    if failed or task.failed:
        where = ", ".join(f"{host}: {text}" for host, text in failed.items()) or task.transitioning_message
        raise ClientError(f"Pull failed on one of the hosts: {image}: {where}")


def _is_removed(config: Mapping[str, Any]) -> bool:
    return config.get("imageUuid") == "rancher/none"


def _first_given(*values: int | None) -> int:
    return next(value for value in values if value is not None)
