"""Records as JSON resources: one compiled renderer per version, role and type.

What can be decided once (order of keys, conversions, link names, actions of a state) is decided when a renderer is
built; showing a record then copies a template and fills in what the row holds. The order of keys is that of Rancher
1.6: id, type, links, actions, baseType, name, state, and the others by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from drover.server.api.actions import ActionTable
from drover.server.api.call import Call
from drover.server.api.extensions import Item, Output
from drover.server.api.grammar import FieldType, parse_type
from drover.server.api.ids import format_id
from drover.server.api.scope import stored_kind
from drover.server.resources import RoleSchemas, Schema, SchemaField, catalog, schemas
from drover.server.store import Record

Convert = Callable[[Any], Any]

# Shown though no schema lists them, as in Rancher 1.6. A computation of the type decides who sees them.
_BEYOND_SCHEMAS = frozenset({"healthcheckStates"})
_TRANSITIONING = ("transitioning", "transitioningMessage", "transitioningProgress")
_LEADING = ("name", "state")


class Renderer:
    """Shows records of one type to one role. ``plain``: ids as database numbers."""

    def __init__(self, role_schemas: RoleSchemas, schema: Schema, *, plain: bool) -> None:
        self.schema = schema
        self.actions = ActionTable(schema)
        self._prefix = "" if plain else schema.id_prefix
        self._template: dict[str, Any] = {}
        self._list_template: dict[str, Any] = {}
        self._plain_fields: set[str] = set()
        self._converted: list[tuple[str, str, Convert]] = []
        self._dates: list[tuple[str, str]] = []
        self._once: list[tuple[str, str, Convert | None]] = []
        self._links = [(name, f"/{name.lower()}") for name in schema.links]
        self._moving: frozenset[str] | None = None  # None: the type has no processes
        base = stored_kind(schema.stored_type or "")
        if catalog().processes_of(base):
            self._moving = catalog().transitioning_states(base)
        self._compile(role_schemas, plain)

    def _compile(self, role_schemas: RoleSchemas, plain: bool) -> None:
        readable = [each for each in self.schema.fields.values() if each.readable and each.name not in ("id", "type")]
        if self._moving is None:
            readable = [each for each in readable if each.name not in _TRANSITIONING]
        readable.sort(key=lambda each: (each.name not in _LEADING, each.name))
        for each in readable:
            if each.read_on_create_only:
                self._once.append((each.name, each.stored_as, converter(each.type, role_schemas, plain)))
                continue
            self._add(each, role_schemas, plain)

    def _add(self, field: SchemaField, role_schemas: RoleSchemas, plain: bool) -> None:
        default = None
        if field.type == "boolean" and not field.nullable:
            default = bool(field.default)
        self._template[field.name] = default
        if field.in_lists:
            self._list_template[field.name] = default
        if field.name in _TRANSITIONING and self._moving is not None:
            return
        if field.type == "date":
            self._template[f"{field.name}TS"] = self._list_template[f"{field.name}TS"] = None
            self._dates.append((field.name, field.stored_as))
            return
        convert = converter(field.type, role_schemas, plain)
        if field.name == "kind" and role_schemas.version == "v1":
            convert = _v1_kind
        if convert is None and field.stored_as == field.name:
            self._plain_fields.add(field.name)
        else:
            self._converted.append((field.name, field.stored_as, convert or _same))

    def id_of(self, record: Record) -> str:
        return format_id(self._prefix, record.id) or ""

    def self_url(self, call: Call, record: Record) -> str:
        return call.urls.resource(self.schema.plural, self.id_of(record))

    def render(
        self,
        call: Call,
        record: Record,
        *,
        actions: Sequence[str],
        extra_links: Sequence[str] = (),
        in_list: bool = False,
        created: bool = False,
    ) -> dict[str, Any]:
        """One resource. ``created``: the answer to its creation, the only one that shows new secrets."""
        schema = self.schema
        url = self.self_url(call, record)
        links = {"self": url}
        for name, suffix in self._links:
            links[name] = url + suffix
        for name in extra_links:
            links[name] = f"{url}/{name.lower()}"
        shown: dict[str, Any] = {
            "id": self.id_of(record),
            "type": schema.id,
            "links": links,
            ("actionLinks" if call.action_links else "actions"): {name: f"{url}/?action={name}" for name in actions},
            "baseType": schema.base_type,
        }
        shown.update(self._list_template if in_list else self._template)
        self._fill(shown, record.values)
        if self._moving is not None:
            self._show_transition(shown, record)
        if created:
            for name, stored_as, convert in self._once:
                value = record[stored_as]
                shown[name] = convert(value) if convert and value is not None else value
        return shown

    def _fill(self, shown: dict[str, Any], values: Mapping[str, Any]) -> None:
        plain = self._plain_fields
        for name, value in values.items():
            if value is not None and name in plain and name in shown:
                shown[name] = value
        for name, stored_as, convert in self._converted:
            value = values.get(stored_as)
            if value is not None and name in shown:
                shown[name] = convert(value)
        for name, stored_as in self._dates:
            value = values.get(stored_as)
            stamp = f"{name}TS"
            if value is None:
                shown.pop(stamp, None)
            elif name in shown:
                shown[name] = iso_date(value)
                shown[stamp] = value

    def _show_transition(self, shown: dict[str, Any], record: Record) -> None:
        assert self._moving is not None
        stored = record["transitioning"]
        flag, message, progress = "no", None, None
        if stored == "errorOverride":
            flag, message = "error", record["transitioningMessage"]
        elif record["state"] in self._moving:
            flag = "yes"
            message = record["transitioningMessage"] or "In Progress"
            progress = record["transitioningProgress"]
        elif stored == "error":
            flag, message = "error", record["transitioningMessage"]
        for name, value in zip(_TRANSITIONING, (flag, message, progress), strict=True):
            if name in shown:
                shown[name] = value


def _v1_kind(kind: Any) -> Any:
    return "environment" if kind == "stack" else kind


def _same(value: Any) -> Any:
    return value


def iso_date(milliseconds: int | float) -> str:
    """``2019-02-03T10:11:12Z``"""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# Conversions of stored values


@lru_cache(maxsize=20_000)
def converter(type_text: str, role_schemas: RoleSchemas, plain: bool) -> Convert | None:
    """How a stored value of this type is shown; None when it is shown as it is."""
    return _converter(parse_type(type_text), role_schemas, plain)


def _converter(kind: FieldType, role_schemas: RoleSchemas, plain: bool) -> Convert | None:
    match kind.name:
        case "reference":
            return _reference(kind.target, role_schemas, plain)
        case "date":
            return iso_date
        case "array" | "map" if kind.of is not None:
            inner = _converter(kind.of, role_schemas, plain)
            if inner is None:
                return None
            return _each_of_list(inner) if kind.name == "array" else _each_of_map(inner)
        case "embedded":
            return _embedded(kind.target, role_schemas, plain)
    return None


def _reference(target: str, role_schemas: RoleSchemas, plain: bool) -> Convert | None:
    if plain:
        return str
    prefix = id_prefix(target, role_schemas)

    def show(value: Any) -> Any:
        return format_id(prefix, value)

    return show


def id_prefix(type_name: str, role_schemas: RoleSchemas) -> str:
    """The letters in ids of a type, also where the role does not see the type."""
    schema = role_schemas.get(type_name) if type_name else None
    if schema is not None:
        return schema.id_prefix
    resource = catalog(role_schemas.version).find(type_name) or catalog().find(type_name)
    return "1" if resource is None else resource.id_prefix


def _each_of_list(inner: Convert) -> Convert:
    def show(value: Any) -> Any:
        return [inner(each) for each in value if each is not None] if isinstance(value, list | tuple) else value

    return show


def _each_of_map(inner: Convert) -> Convert:
    def show(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: None if each is None else inner(each) for key, each in value.items()}

    return show


def _embedded(target: str, role_schemas: RoleSchemas, plain: bool) -> Convert:
    """An embedded object shows its type and the fields that the role may read there."""
    readable: dict[str, tuple[str, Convert | None]] | None = None

    def show(value: Any) -> Any:
        nonlocal readable
        if not isinstance(value, dict):
            return value
        if readable is None:  # built when first needed: types may embed each other
            schema = role_schemas.get(target)
            readable = {
                each.stored_as: (each.name, converter(each.type, role_schemas, plain))
                for each in (schema.fields.values() if schema else ())
                if each.readable and each.type != "password"
            }
        shown: dict[str, Any] = {"type": target}
        for key, item in value.items():
            found = readable.get(key)
            if found is None or key == "type":
                continue
            name, convert = found
            shown[name] = convert(item) if convert is not None and item is not None else item
        return shown

    return show


# Choosing the renderer


@lru_cache(maxsize=4096)
def renderer(version: str, role: str, type_name: str, plain: bool) -> Renderer | None:
    """The renderer of a type for a role; None when the role does not see the type."""
    role_schemas = schemas(version, role)
    schema = role_schemas.get(type_name)
    return None if schema is None else Renderer(role_schemas, schema, plain=plain)


@lru_cache(maxsize=4096)
def shown_type(version: str, role: str, base_type: str, kind: str) -> str | None:
    """The type that a row is shown as: its kind if the role sees a type of that name, else the nearest ancestor."""
    role_schemas = schemas(version, role)
    declared = catalog().resources
    name: str | None = kind
    if kind not in declared or catalog().base(kind).name != base_type:
        name = base_type
    while name is not None:
        shown = "environment" if name == "stack" and role_schemas.version == "v1" else name
        if shown in role_schemas:
            return shown
        name = declared[name].parent
    return None


def renderer_for(call: Call, record: Record) -> Renderer | None:
    name = shown_type(call.version, call.caller.role, record.type, record.kind)
    return None if name is None else renderer(call.version, call.caller.role, name, call.plain_ids)


async def render_aligned(
    call: Call, items: Sequence[Item], *, in_list: bool = False, created: bool = False
) -> list[dict[str, Any] | None]:
    """One resource per item, in order; None for a record of a type that the caller does not see."""
    extras = await _computed(call, [item for item in items if isinstance(item, Record)])
    return [_render_item(call, item, extras, in_list=in_list, created=created) for item in items]


async def render_items(call: Call, items: Sequence[Item]) -> list[dict[str, Any]]:
    """The resources of a list, without those that the caller does not see."""
    return [shown for shown in await render_aligned(call, items, in_list=True) if shown is not None]


async def render_item(call: Call, item: Item, *, created: bool = False) -> dict[str, Any] | None:
    return (await render_aligned(call, [item], created=created))[0]


def _render_item(
    call: Call, item: Item, extras: Mapping[tuple[str, int], Mapping[str, Any]], *, in_list: bool, created: bool
) -> dict[str, Any] | None:
    if isinstance(item, Output):
        return render_output(call, item)
    found = renderer_for(call, item)
    if found is None:
        return None
    extra = extras.get(item.key)
    record = item.merged(extra) if extra else item
    extensions = call.extensions
    names = found.actions.available(call, record)
    for action_filter in extensions.action_filters(found.schema.id):
        names = action_filter(call, record, names)
    link_names = [name for namer in extensions.link_namers(found.schema.id) for name in namer(call, item)]
    shown = found.render(call, record, actions=names, extra_links=link_names, in_list=in_list, created=created)
    shown.update({name: extra[name] for name in _BEYOND_SCHEMAS & extra.keys()} if extra else {})
    return shown


async def _computed(call: Call, records: Sequence[Record]) -> dict[tuple[str, int], Mapping[str, Any]]:
    """What the types add when they are read: one call per computation for all records of a page."""
    by_type: dict[str, list[Record]] = {}
    for record in records:
        by_type.setdefault(record.type, []).append(record)
    extras: dict[tuple[str, int], Mapping[str, Any]] = {}
    for base_type, group in by_type.items():
        for compute in call.extensions.computers(base_type):
            for row_id, values in (await compute(call, group)).items():
                extras[base_type, row_id] = {**extras.get((base_type, row_id), {}), **values}
    return extras


def render_output(call: Call, output: Output) -> dict[str, Any]:
    """A resource that is no row."""
    schema = call.schemas.get(output.type)
    name = schema.id if schema else output.type
    links = dict(output.links)
    if schema is not None and output.id is not None and "GET" in schema.resource_methods:
        links = {"self": call.urls.resource(schema.plural, output.id), **links}
    return {
        "id": output.id,
        "type": name,
        "links": links,
        ("actionLinks" if call.action_links else "actions"): dict(output.actions),
        "baseType": schema.base_type if schema else name,
        **{key: value for key, value in output.values.items() if key not in ("id", "type")},
    }
