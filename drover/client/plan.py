"""What applying a compose project would do, worked out by reading alone.

Everything that can be wrong is found here, before the first write: unknown services, certificates and secrets,
volumes with another driver, services of another kind. In Rancher 1.6 such mistakes left half a stack behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from drover.client.errors import ClientError
from drover.client.resource import Resource
from drover.client.resource_api import ResourceApi
from drover.common.together import together
from drover.compose import (
    CertificateRef,
    ComposeProject,
    Kind,
    Reference,
    SecretRef,
    ServiceChange,
    ServicePlan,
    ServiceRef,
    SettingRef,
    diff_service,
    plan_services,
    references,
    resolve,
    volume_bodies,
)
from drover.compose.references import Body

DEFAULT_BATCH_SIZE = 2
DEFAULT_INTERVAL_MILLIS = 1000


class Mode(Enum):
    """What happens to services that exist."""

    KEEP = "keep"
    UPGRADE = "upgrade"
    FORCE = "force-upgrade"
    ROLLBACK = "rollback"


class Step(Enum):
    """What the plan means to do with one service."""

    CREATE = "create"
    KEEP = "keep"
    OUTDATED = "differs, use --upgrade"
    UPDATE = "update"
    UPGRADE = "upgrade"
    ROLLBACK = "roll back"
    REMOVE = "remove"


class PlanError(ClientError):
    """The project cannot be applied to this environment; nothing was changed. `problems` lists all reasons."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """What the user asks for. `services` restricts the work to these names; None means all."""

    mode: Mode = Mode.KEEP
    start: bool = True
    confirm: bool = False
    pull: bool = False
    prune: bool = False
    batch_size: int | None = None
    interval_millis: int | None = None
    description: str = ""
    services: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ServiceStep:
    """One service of the plan: its file side, its live side (None when missing), and what to do."""

    plan: ServicePlan
    live: Resource | None
    step: Step
    change: ServiceChange | None = None

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def details(self) -> tuple[str, ...]:
        """Changed fields, for a person to read."""
        return self.change.details if self.change is not None else ()


@dataclass(frozen=True, slots=True)
class ApplyPlan:
    """Everything `apply` needs. `ids` answers references except those to services that do not exist yet."""

    project: ComposeProject
    options: ApplyOptions
    stack: Resource | None
    steps: tuple[ServiceStep, ...]
    volumes: tuple[Body, ...]
    secrets: tuple[str, ...]
    removed: tuple[Resource, ...]
    ids: Mapping[Reference, str]
    warnings: tuple[str, ...] = ()


async def make_plan(api: ResourceApi, project: ComposeProject, options: ApplyOptions) -> ApplyPlan:
    """Compare the project with the environment. Raises PlanError (or ComposeError) before anything is changed."""
    plans = plan_services(project)
    problems: list[str] = []
    if options.services is not None:
        known = {plan.name for plan in plans}
        problems += [f"No such service: {name}" for name in sorted(options.services - known)]
    stacks = await api.find("stack", {"name": project.name})
    stack = stacks[0] if stacks else None
    live, volumes = await _contents(api, stack)
    finder = _Finder(api, project, options, live)
    await finder.look_up(plans)
    steps = tuple(_step(plan, live.get(plan.name), options, finder, problems) for plan in plans)
    missing_volumes = _missing_volumes(project, volumes, problems)
    problems += finder.problems
    if options.mode is Mode.ROLLBACK and stack is None:
        problems.append(f"there is no stack {project.name!r} to roll back")
    if problems:
        raise PlanError(dict.fromkeys(problems))
    names = {plan.name for plan in plans}
    return ApplyPlan(
        project=project,
        options=options,
        stack=stack,
        steps=steps,
        volumes=missing_volumes,
        secrets=finder.secrets_to_create,
        removed=tuple(service for name, service in live.items() if name not in names) if options.prune else (),
        ids=finder.ids,
        warnings=(*(str(problem) for problem in project.warnings), *finder.warnings, *_host_warning(project)),
    )


async def _contents(api: ResourceApi, stack: Resource | None) -> tuple[dict[str, Resource], dict[str, Resource]]:
    """Live services and volume templates of the stack, by name."""
    if stack is None:
        return {}, {}
    services, volumes = await together(api.find(kind, {"stackId": stack.id}) for kind in ("service", "volumeTemplate"))
    return {item.name: item for item in services}, {item.name: item for item in volumes}


@dataclass(slots=True)
class _Finder:
    """Turns references into ids with one request for each kind of thing, and notes what is missing."""

    api: ResourceApi
    project: ComposeProject
    options: ApplyOptions
    live: Mapping[str, Resource]
    ids: dict[Reference, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    secrets_to_create: tuple[str, ...] = ()

    async def look_up(self, plans: tuple[ServicePlan, ...]) -> None:
        needed = {ref for plan in plans for ref in references(plan.body)}
        linked = {link.target for plan in plans for link in plan.links or () if link.target is not None}
        declared = {SecretRef(name) for name in self.project.secrets}
        wanted: list[Reference] = sorted(needed | linked | declared, key=str)
        await together(
            [
                self._secrets([ref for ref in wanted if isinstance(ref, SecretRef)]),
                self._certificates([ref for ref in wanted if isinstance(ref, CertificateRef)]),
                self._settings([ref for ref in wanted if isinstance(ref, SettingRef)]),
                self._foreign([ref for ref in wanted if isinstance(ref, ServiceRef) and ref.stack]),
            ]
        )
        for name, service in self.live.items():
            self.ids[ServiceRef(name)] = service.id
        created = {plan.name for plan in plans if self.options.services is None or plan.name in self.options.services}
        for ref in wanted:
            if not isinstance(ref, ServiceRef) or ref in self.ids or (ref.stack is None and ref.name in created):
                continue
            if ref in needed:
                self.problems.append(f"Failed to find existing service: {ref}")
            else:
                self.warnings.append(f"the link to {ref} is left out: there is no such service")

    async def _secrets(self, refs: list[SecretRef]) -> None:
        if not refs:
            return
        existing = {secret.name: secret.id for secret in await self.api.find("secret", {})}
        create: list[str] = []
        for ref in refs:
            definition = self.project.secrets.get(ref.name)
            if ref.name in existing:
                self.ids[ref] = existing[ref.name]
            elif definition is not None and definition.content is not None:
                create.append(ref.name)
            elif definition is not None:
                self.problems.append(f"Existing secret {ref} not found: create it with `drover secrets create`")
            else:
                self.problems.append(f"Failed to find secret {ref}")
        self.secrets_to_create = tuple(create)

    async def _certificates(self, refs: list[CertificateRef]) -> None:
        if not refs:
            return
        existing = {item.name: item.id for item in await self.api.find("certificate", {})}
        for ref in refs:
            if ref.name in existing:
                self.ids[ref] = existing[ref.name]
            else:
                self.problems.append(f"Failed to find certificate {ref}")

    async def _settings(self, refs: list[SettingRef]) -> None:
        for ref in refs:
            value = await self.api.setting(ref.name)
            if value:
                self.ids[ref] = value
            else:
                self.problems.append(f"the server has no value for the setting {ref}")

    async def _foreign(self, refs: list[ServiceRef]) -> None:
        stacks = sorted({ref.stack for ref in refs if ref.stack})
        contents = dict(zip(stacks, await together(self._services_of(name) for name in stacks), strict=True))
        for ref in refs:
            if ref.stack and (found := contents[ref.stack].get(ref.name)):
                self.ids[ref] = found

    async def _services_of(self, stack_name: str) -> dict[str, str]:
        stacks = await self.api.find("stack", {"name": stack_name})
        if not stacks:
            return {}
        return {item.name: item.id for item in await self.api.find("service", {"stackId": stacks[0].id})}


def _step(
    plan: ServicePlan, live: Resource | None, options: ApplyOptions, finder: _Finder, problems: list[str]
) -> ServiceStep:
    chosen = options.services is None or plan.name in options.services
    if live is None:
        step = Step.CREATE if chosen and options.mode is not Mode.ROLLBACK else Step.KEEP
        return ServiceStep(plan, None, step)
    if live.type and live.type != plan.kind.value:
        problems.append(
            f"{plan.name} exists as {live.type}, but the files make it {plan.kind.value}: remove the service first"
        )
        return ServiceStep(plan, live, Step.KEEP)
    if not chosen:
        return ServiceStep(plan, live, Step.KEEP)
    if options.mode is Mode.ROLLBACK:
        return ServiceStep(plan, live, Step.ROLLBACK)
    change = diff_service(plan, live, body=_known_body(plan, finder.ids))
    return ServiceStep(plan, live, _step_for(plan, change, options), change)


def _step_for(plan: ServicePlan, change: ServiceChange, options: ApplyOptions) -> Step:
    if options.mode is Mode.KEEP:
        return Step.OUTDATED if change else Step.KEEP
    has_containers = plan.kind not in (Kind.EXTERNAL, Kind.DNS)
    if has_containers and (change.needs_upgrade or options.mode is Mode.FORCE):
        return Step.UPGRADE
    return Step.UPDATE if change or options.mode is Mode.FORCE else Step.KEEP


def _known_body(plan: ServicePlan, ids: Mapping[Reference, str]) -> Body:
    """The body with the ids known now; a reference to something new differs from every id, as it must."""
    found: Body = resolve(plan.body, lambda ref: ids.get(ref, f"(new) {ref}"))
    return found


def _missing_volumes(
    project: ComposeProject, existing: Mapping[str, Resource], problems: list[str]
) -> tuple[Body, ...]:
    missing = []
    for body in volume_bodies(project):
        live = existing.get(body["name"])
        if live is None:
            missing.append(body)
        elif body.get("driver") and live.text("driver") != body["driver"]:
            problems.append(f'Volume "{body["name"]}" needs to be recreated - driver has changed')
    return tuple(missing)


def _host_warning(project: ComposeProject) -> tuple[str, ...]:
    if not project.hosts:
        return ()
    return (f"the hosts {', '.join(project.hosts)} are not created: add them with `drover hosts add`",)
