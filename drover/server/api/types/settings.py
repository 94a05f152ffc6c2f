"""Settings as resources. Their ids are their names; what is shown is what is in force. Source: Rancher 1.6."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any

from drover.server.api.call import Call
from drover.server.api.errors import ApiError, forbidden, invalid
from drover.server.api.extensions import Extensions, Output
from drover.server.api.writing import commit
from drover.server.resources import Schema
from drover.server.resources.settings import SETTINGS
from drover.server.store import Record

TYPE = "setting"

_NAME = re.compile(r"[a-z][A-Za-z0-9._-]{0,250}\Z")
_LONGEST_VALUE = 64 * 1024
_WRITERS = frozenset({"admin", "superadmin", "service"})


def register(extensions: Extensions) -> None:
    extensions.lists("setting", "activeSetting")(list_settings)
    extensions.reads("setting", "activeSetting")(read_setting)
    extensions.creates("setting")(create_setting)
    extensions.updates("setting", "activeSetting")(update_setting)
    extensions.removes("setting", "activeSetting")(remove_setting)


async def list_settings(call: Call, _schema: Schema) -> Sequence[Output]:
    """Every setting that the caller may read; ``all=false`` limits administrators to the public ones."""
    everything = call.caller.list_all_settings and call.flag("all") is not False
    wanted = set(call.query.get("name", ()))
    return [
        show(call, name)
        for name in call.context.settings.names()
        if name[:1].islower() and (everything or _is_public(name)) and (not wanted or name in wanted)
    ]


async def read_setting(call: Call, _schema: Schema, name: str) -> Output | None:
    if not (call.caller.list_all_settings or _is_public(name)):
        return None
    known = name in SETTINGS or call.context.settings.chosen(name)
    return show(call, name) if known and name[:1].islower() else None


def show(call: Call, name: str) -> Output:
    settings = call.context.settings
    active, stored = settings.get(name), settings.stored(name)
    definition = SETTINGS.get(name)
    if definition is not None and definition.service_only and call.caller.role != "service":
        active, stored = "", None if stored is None else ""
    url = call.urls.resource("settings", name)
    return Output(
        type="activeSetting",
        id=name,
        links={"self": url},
        values={
            "baseType": TYPE,
            "name": name,
            "activeValue": active,
            "inDb": stored is not None,
            "source": settings.source(name),
            "value": active if stored is None else stored,
        },
    )


def _is_public(name: str) -> bool:
    definition = SETTINGS.get(name)
    return definition is not None and definition.public


async def create_setting(call: Call, schema: Schema, values: dict[str, Any]) -> Output:
    name = str(values.get("name") or "")
    if not name:
        raise invalid("MissingRequired", "name", "Give the name of the setting, such as api.host")
    return await update_setting(call, schema, name, values)


async def update_setting(call: Call, _schema: Schema, name: str, values: dict[str, Any]) -> Output:
    """Store a value. One that the environment fixes is stored, too, but does not come into force."""
    if call.caller.role not in _WRITERS:
        raise forbidden("Only administrators may change settings")
    if not _NAME.match(name):
        raise invalid(
            "InvalidCharacters",
            "name",
            "The name of a setting begins with a small letter, and has letters, digits, dots, hyphens and underscores",
        )
    value = str(values.get("value") or "")
    if len(value) > _LONGEST_VALUE:
        raise invalid("MaxLengthExceeded", "value", f"A setting may have at most {_LONGEST_VALUE} characters")
    record = await _stored(call, name)
    changes = call.store.changes()
    if record is None:
        record = changes.insert(TYPE, {"kind": TYPE, "uuid": str(uuid.uuid4()), "name": name, "value": value})
        changes.claim(f"setting:{name}", record)
    else:
        changes.update(record, {"value": value})
    await commit(call, changes)
    return show(call, name)


async def remove_setting(call: Call, _schema: Schema, name: str) -> Output:
    """Forget the stored value: the setting falls back to its default."""
    if call.caller.role not in _WRITERS:
        raise forbidden("Only administrators may change settings")
    record = await _stored(call, name)
    if record is None:
        raise ApiError(404, None, f"The setting {name!r} has no stored value")
    changes = call.store.changes()
    changes.delete(record)
    changes.release_all(record)
    await commit(call, changes)
    return show(call, name)


async def _stored(call: Call, name: str) -> Record | None:
    return await call.store.first(TYPE, name=name)
