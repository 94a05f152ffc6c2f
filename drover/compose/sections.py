"""The top level of a file: its version, its sections, and the older sections that are other spellings of services."""

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field

from drover.compose.errors import Invalid, Mark, Problems
from drover.compose.model import LbConfig, NetworkDriver, Question, StorageDriver
from drover.compose.nodes import Entry, Mapping, Node, Scalar, Sequence, is_null, scalar_text
from drover.compose.schema import Dialect, looks_like_version_2

_VERSIONS = "versions 1 (no 'version' line) and 2 are supported"
_SERVICE_SECTIONS = (
    "services",
    "load_balancers",
    "storage_drivers",
    "network_drivers",
    "virtual_machines",
    "external_services",
    "aliases",
)
_WITHOUT_EFFECT = ("networks", "containers", "dependencies", "catalog", ".catalog")
_KNOWN = (*_SERVICE_SECTIONS, *_WITHOUT_EFFECT, "version", "volumes", "secrets", "hosts")


@dataclass(slots=True)
class Sections:
    """What stands in one file, still as nodes."""

    file: str
    dialect: Dialect
    services: dict[str, Entry] = field(default_factory=dict)
    volumes: dict[str, Entry] = field(default_factory=dict)
    secrets: dict[str, Entry] = field(default_factory=dict)
    hosts: dict[str, Entry] = field(default_factory=dict)
    questions: tuple[Question, ...] = ()


def split(root: Mapping, *, file: str, problems: Problems) -> Sections:
    """The sections of a parsed file. Raises `Invalid` for a version that does not exist."""
    version = root.entries.get("version")
    if version is None or isinstance(version.value, Mapping):
        if looks_like_version_2(root):
            raise Invalid(
                root.entries["services"].mark,
                "the file has a 'services' section but no version",
                "add the line version: '2' at the top",
            )
        services = {e.key: e for e in root if e.key != ".catalog"}
        return Sections(file, Dialect(1), services, questions=_questions(root.get(".catalog")))
    sections = Sections(file, _dialect(version))
    for entry in root:
        _sort(entry, sections, problems)
    return sections


def _dialect(entry: Entry) -> Dialect:
    node = entry.value
    text = node.text if isinstance(node, Scalar) else ""
    if text == "2":
        return Dialect(2)
    if text in ("2.0", "2.1", "2.2", "2.3", "2.4"):
        return Dialect(2, minor=True)
    if text.split(".")[0] == "3":
        raise Invalid(entry.mark, f"version {text} is not supported", f"{_VERSIONS}; write version: '2'")
    raise Invalid(entry.mark, f"the version '{text}' does not exist", _VERSIONS)


def _sort(entry: Entry, sections: Sections, problems: Problems) -> None:
    if entry.key not in _KNOWN:
        problems.warn(entry.mark, f"the section '{entry.key}' is unknown and ignored", f"known: {', '.join(_KNOWN)}")
        return
    if entry.key in ("catalog", ".catalog"):
        sections.questions = _questions(entry.value)
    if entry.key == "version" or entry.key in _WITHOUT_EFFECT or is_null(entry.value):
        return
    if not isinstance(entry.value, Mapping):
        problems.error(entry.mark, f"the section '{entry.key}' must be a map")
        return
    if entry.key in ("volumes", "secrets", "hosts"):
        target: dict[str, Entry] = getattr(sections, entry.key)
        target.update(entry.value.entries)
        return
    for inner in entry.value:
        if inner.key == ".catalog":
            sections.questions = sections.questions or _questions(inner.value)
        else:
            sections.services[inner.key] = _as_service(entry.key, inner)


def _as_service(section: str, entry: Entry) -> Entry:
    """An entry of one of the older sections as a service."""
    if section in ("services", "virtual_machines") or not isinstance(entry.value, Mapping):
        return entry
    if section == "load_balancers":
        return _hoist(entry, "lb_config", LbConfig.__struct_fields__)
    if section == "storage_drivers":
        return _hoist(entry, "storage_driver", StorageDriver.__struct_fields__)
    if section == "network_drivers":
        return _hoist(entry, "network_driver", NetworkDriver.__struct_fields__)
    if section == "external_services":
        return _with(entry, {"image": _text("rancher/external-service", entry.mark)})
    names = entry.value.get("services")
    renamed = {"image": _text("rancher/dns-service", entry.mark)}
    if names is not None:
        renamed["links"] = Entry("links", names, entry.value.entries["services"].mark)
    return _with(entry, renamed, without=("services",))


def _hoist(entry: Entry, into: str, keys: tuple[str, ...]) -> Entry:
    assert isinstance(entry.value, Mapping)
    inner = {key: found for key, found in entry.value.entries.items() if key in keys}
    if not inner:
        return entry
    return _with(entry, {into: Entry(into, Mapping(inner, entry.value.mark), entry.mark)}, without=tuple(inner))


def _with(entry: Entry, added: MappingABC[str, Entry], without: tuple[str, ...] = ()) -> Entry:
    assert isinstance(entry.value, Mapping)
    kept = {key: found for key, found in entry.value.entries.items() if key not in without}
    return Entry(entry.key, Mapping({**added, **kept}, entry.value.mark), entry.mark)


def _text(text: str, mark: Mark) -> Entry:
    return Entry("image", Scalar(text, text, mark, True), mark)


def _questions(catalog: Node | None) -> tuple[Question, ...]:
    """The questions of a catalog section. What is malformed there is the catalog's business, not ours."""
    listed = catalog.get("questions") if isinstance(catalog, Mapping) else None
    if not isinstance(listed, Sequence):
        return ()
    found = []
    for item in listed.items:
        variable = item.get("variable") if isinstance(item, Mapping) else None
        if not isinstance(item, Mapping) or not isinstance(variable, Scalar):
            continue
        required, options = item.get("required"), item.get("options")
        found.append(
            Question(
                variable=variable.text,
                label=_scalar(item, "label") or "",
                description=_scalar(item, "description") or "",
                type=_scalar(item, "type") or "string",
                options=tuple(one.text for one in options.items if isinstance(one, Scalar))
                if isinstance(options, Sequence)
                else (),
                default=_scalar(item, "default"),
                required=isinstance(required, Scalar) and required.value is True,
            )
        )
    return tuple(found)


def _scalar(item: Mapping, key: str) -> str | None:
    node = item.get(key)
    return scalar_text(node.value) if isinstance(node, Scalar) and node.value is not None else None
