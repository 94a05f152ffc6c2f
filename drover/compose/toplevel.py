"""The top-level sections beside services: volume templates, secrets, hosts."""

from drover.compose import values
from drover.compose.files import Files
from drover.compose.model import HostDefinition, SecretDefinition, VolumeTemplate
from drover.compose.nodes import Entry, Mapping, Node, Plain, is_null, to_plain
from drover.compose.values import Field

_VOLUME_KEYS = ("driver", "driver_opts", "external", "per_container", "name", "labels")
_SECRET_KEYS = ("external", "file", "name", "labels")
MAX_HOSTS = 100


def decode_volume(entry: Entry, field: Field) -> VolumeTemplate:
    """A volume template; `external: {name: x}` uses the volume `x`."""
    given = _known(entry, field, "volume", _VOLUME_KEYS)
    external, external_name = _external(given.get("external"), field)
    name = given.get("name")
    return VolumeTemplate(
        name=entry.key,
        driver=values.string(given["driver"], field) or None if "driver" in given else None,
        driver_opts=values.option_map(given["driver_opts"], field) if "driver_opts" in given else None,
        external=external,
        external_name=external_name or (values.string(name, field) if name is not None else None),
        per_container=values.boolean(given["per_container"], field) if "per_container" in given else False,
    )


def decode_secret(entry: Entry, field: Field, *, file: str, files: Files) -> SecretDefinition:
    """A secret that exists already, or the content of a file."""
    given = _known(entry, field, "secret", _SECRET_KEYS)
    if "external" in given and _external(given["external"], field)[0]:
        return SecretDefinition(name=entry.key, external=True)
    if "file" not in given:
        raise field.invalid(entry.mark, "is a secret without 'file' and not 'external'.", "add 'external: true'")
    path = values.string(given["file"], field)
    what = f"secret '{entry.key}': file '{path}'"
    content = files.read(path, beside=file, mark=given["file"].mark, what=what, problems=field.problems)
    return SecretDefinition(name=entry.key, content=content)


def decode_host(entry: Entry, field: Field) -> HostDefinition:
    """Machines to create: `count`, `template`, and the fields of the host with underscores."""
    if not isinstance(entry.value, Mapping):
        raise field.wrong_type(entry.value, values.MAP)
    count, template = entry.value.get("count"), entry.value.get("template")
    number = 1 if count is None or is_null(count) else values.integer(count, field)
    if not 0 <= number <= MAX_HOSTS:
        raise field.invalid(entry.mark, f"asks for {number} hosts; 0 to {MAX_HOSTS} are possible.")
    body: dict[str, Plain] = {
        camel_case(inner.key): to_plain(inner.value) for inner in entry.value if inner.key not in ("count", "template")
    }
    return HostDefinition(
        name=entry.key,
        count=number,
        template=None if template is None or is_null(template) else values.any_text(template, field),
        body=body,
    )


def camel_case(key: str) -> str:
    """`host_template` as `hostTemplate`."""
    first, *rest = key.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def _external(node: Node | None, field: Field) -> tuple[bool, str | None]:
    if node is None or is_null(node):
        return False, None
    if isinstance(node, Mapping):
        name = node.get("name")
        return True, None if name is None or is_null(name) else values.string(name, field)
    return values.boolean(node, field), None


def _known(entry: Entry, field: Field, what: str, known: tuple[str, ...]) -> dict[str, Node]:
    """The keys that have a value; unknown ones are warned about."""
    if is_null(entry.value):
        return {}
    if not isinstance(entry.value, Mapping):
        raise field.wrong_type(entry.value, values.MAP)
    for inner in entry.value:
        if inner.key not in known:
            field.problems.warn(
                inner.mark, f"the {what} '{entry.key}' has the unknown key '{inner.key}'", f"known: {', '.join(known)}"
            )
    return {inner.key: inner.value for inner in entry.value if not is_null(inner.value)}
