"""Volumes of a stack: what a volume template of the stack means for the containers of its services.

A launch config says ``data:/var/lib/db``; if the stack has a template ``data``, that is one volume per stack
(``shop_data_1f2e3``), one per container, or one that must exist already. Rules and names: Rancher 1.6.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from drover.common.clock import now_ms
from drover.server.orchestration.context import Context
from drover.server.orchestration.services.spec import LaunchConfig, ServiceSpec
from drover.server.store import Changes, ClaimTaken, Record

_SUFFIX_BYTES = 3
_PER_STACK = "stack-volume"


class MissingVolume(Exception):
    """An external volume that nobody has made."""


class StackVolumes:
    """The templates that the launch configs of a service use, with the volumes known for them."""

    def __init__(self, spec: ServiceSpec, templates: Mapping[str, Record], shared: Mapping[str, Record]) -> None:
        self._spec = spec
        self._templates = templates
        self._shared = shared
        self._own: dict[tuple[str, int, str], Record] = {}

    @classmethod
    async def load(cls, context: Context, spec: ServiceSpec, configs: Iterable[LaunchConfig]) -> StackVolumes:
        """Read the templates in use and make the volumes that all containers share. Raises MissingVolume."""
        names = {name for config in configs for name, _ in _named(config.fields.get("dataVolumes") or ())}
        if not names:
            return cls(spec, {}, {})
        found = await context.store.find_by("volumeTemplate", stackId=spec.stack.id, name=tuple(names), removed=None)
        templates = {str(template.name): template for template in found}
        shared: dict[str, Record] = {}
        for name, template in templates.items():
            if template["external"]:
                shared[name] = await _existing(context, spec, name)
            elif not template["perContainer"]:
                shared[name] = await _shared(context, spec, template)
        volumes = cls(spec, templates, shared)
        await volumes._load_own(context)
        return volumes

    async def _load_own(self, context: Context) -> None:
        """Volumes made for units before: a container that is made again gets its data back."""
        per_container = [each.id for each in self._templates.values() if each["perContainer"]]
        if not per_container:
            return
        for row in await context.store.find_by("volume", volumeTemplateId=tuple(per_container), removed=None):
            key = (str(row["launchConfigName"] or ""), int(row["deploymentUnitId"] or 0), str(row["templateName"]))
            self._own[key] = row

    def apply(self, changes: Changes, values: dict[str, Any], *, config: LaunchConfig, unit: Record) -> None:
        """Put the real volumes into the values of a container that is about to be made."""
        mounts: dict[str, int] = dict(values.get("dataVolumeMounts") or {})
        data_volumes: list[str] = []
        for entry in values.get("dataVolumes") or ():
            name, colon, path = str(entry).partition(":")
            template = self._templates.get(name) if colon else None
            if template is None:
                data_volumes.append(str(entry))
                continue
            volume = self._shared.get(name) or self._of_unit(changes, template, config, unit)
            data_volumes.append(f"{volume.name}:{path}")
            mounts[path] = volume.id
        if mounts:
            values["dataVolumes"] = data_volumes
            values["dataVolumeMounts"] = mounts

    def _of_unit(self, changes: Changes, template: Record, config: LaunchConfig, unit: Record) -> Record:
        key = (config.name, unit.id, str(template.name))
        volume = self._own.get(key)
        if volume is None:
            name = f"{self._spec.stack_name}_{template.name}_{unit['serviceIndex']}_{unit.uuid}_{_suffix()}"
            extra = {
                "deploymentUnitId": unit.id,
                "launchConfigName": config.name,
                "templateName": template.name,
            }
            volume = self._own[key] = changes.insert("volume", {**_values(self._spec, template, name), **extra})
        return volume


def _named(entries: Sequence[Any]) -> Iterable[tuple[str, str]]:
    for entry in entries:
        name, colon, path = str(entry).partition(":")
        if colon and name and "/" not in name and path.startswith("/"):
            yield name, path


async def _existing(context: Context, spec: ServiceSpec, name: str) -> Record:
    found = await context.store.first("volume", accountId=spec.account_id, name=name, removed=None)
    if found is None:
        raise MissingVolume(f"Failed to locate volume {name}: it is external, so create it before the service starts")
    return found


async def _shared(context: Context, spec: ServiceSpec, template: Record) -> Record:
    """The stack's one volume of a template; a claim decides between two services that come first together."""
    store = context.store
    for _ in range(3):
        found = await store.first("volume", volumeTemplateId=template.id, removed=None)
        if found is not None:
            return found
        changes = store.changes()
        volume = changes.insert("volume", _values(spec, template, f"{spec.stack_name}_{template.name}_{_suffix()}"))
        changes.claim(f"{_PER_STACK}:{template.id}", volume)
        try:
            await store.commit(changes)
        except ClaimTaken:
            continue
        return volume
    raise MissingVolume(
        f"Volume {template.name} of stack {spec.stack_name} is being made by somebody else; trying again"
    )


def _values(spec: ServiceSpec, template: Record, name: str) -> dict[str, Any]:
    return {
        "kind": "volume",
        "uuid": str(uuid.uuid4()),
        "accountId": spec.account_id,
        "name": name,
        "driver": template["driver"] or "local",
        "driverOpts": template["driverOpts"] or {},
        "stackId": spec.stack.id,
        "volumeTemplateId": template.id,
        "state": "inactive",
        "allocationState": "inactive",
        "deviceNumber": -1,
        "created": now_ms(),
    }


def _suffix() -> str:
    return secrets.token_hex(_SUFFIX_BYTES)[:5]
