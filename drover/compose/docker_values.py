"""Decoders of the keys that have a syntax of their own: ports, devices, limits, log, build, restart, secrets."""

import re
from collections.abc import Mapping as MappingABC

from drover.compose import values
from drover.compose.errors import Mark
from drover.compose.model import (
    Build,
    DockerHealthCheck,
    Extends,
    Logging,
    RestartPolicy,
    SecretMount,
    Ulimit,
)
from drover.compose.nodes import Mapping, Node, Scalar, Sequence, is_null
from drover.compose.values import Field

_PORT = re.compile(
    r"(?:(?P<ip>\[[0-9a-fA-F:.]+\]|[0-9]+\.[0-9.]+|(?=:[^:]*:)):)?"  # empty when its variable is
    r"(?:(?P<host>\d{1,5}(?:-\d{1,5})?)?:)?"
    r"(?P<container>\d{1,5}(?:-\d{1,5})?)"
    r"(?:/(?P<protocol>[A-Za-z]+))?",
    re.ASCII,
)
_PROTOCOLS = frozenset({"tcp", "udp", "sctp", "http", "https"})
_RESTART = re.compile(r"(no|always|unless-stopped|on-failure)(?::(\d{1,9}))?", re.ASCII)
_OCTAL = re.compile(r"0?o?[0-7]{1,4}", re.ASCII)
_CONDITIONS = ("service_started", "service_healthy")


def ports(node: Node, field: Field) -> tuple[str, ...]:
    """Published ports, `[[ip:]host:]container[/protocol]` with ranges, as written."""
    return _port_list(node, field, "ports")


def expose(node: Node, field: Field) -> tuple[str, ...]:
    """Exposed ports; the balancers of older files write `source:target` here too."""
    return _port_list(node, field, "expose")


def _port_list(node: Node, field: Field, form: str) -> tuple[str, ...]:
    found = values.string_list(node, field)
    assert isinstance(node, Sequence)
    for item, text in zip(node.items, found, strict=True):
        if not is_port(text):
            raise field.invalid(
                item.mark,
                f"value '{text[:80]}' Does not match format '{form}'",
                "write [[ip:]host port:]container port[/protocol], such as 8080:80",
            )
    return found


def is_port(text: str) -> bool:
    """Whether the text is a port mapping in Docker's syntax."""
    match = _PORT.fullmatch(text)
    if not match or (match["protocol"] or "tcp").lower() not in _PROTOCOLS:
        return False
    sizes = []
    for part in (match["host"], match["container"]):
        if part is None:
            continue
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if not low <= high <= 65535:
            return False
        sizes.append(high - low)
    return len(sizes) == 1 or sizes[0] == sizes[1] or sizes[1] == 0


def devices(node: Node, field: Field) -> tuple[str, ...]:
    """Devices as `host:container:permissions`; the container path defaults to the host's, permissions to `rwm`."""
    found = []
    for text in values.string_list(node, field):
        parts = text.split(":")
        if len(parts) > 3 or not parts[0]:
            raise field.invalid(node.mark, f"contains '{text}'.", "write host[:container[:permissions]]")
        host = parts[0]
        container = parts[1] if len(parts) > 1 and parts[1] else host
        permissions = parts[2] if len(parts) > 2 and parts[2] else "rwm"
        if len(parts) == 2 and set(container) <= set("rwm"):
            container, permissions = host, container
        found.append(f"{host}:{container}:{permissions}")
    return tuple(found)


def ulimits(node: Node, field: Field) -> MappingABC[str, Ulimit]:
    """Limits by name: a number for both, or a map with `soft` and `hard`."""
    if not isinstance(node, Mapping):
        raise field.wrong_type(node, values.MAP)
    return {entry.key: _ulimit(entry.key, entry.value, field) for entry in sorted(node, key=lambda e: e.key)}


def _ulimit(name: str, node: Node, field: Field) -> Ulimit:
    if not isinstance(node, Mapping):
        limit = values.integer(node, field)
        return Ulimit(name=name, soft=limit, hard=limit)
    for entry in node:
        if entry.key not in ("soft", "hard"):
            raise field.invalid(entry.mark, f"contains unsupported option: '{entry.key}'", "write soft and hard")
    soft, hard = node.get("soft"), node.get("hard")
    if soft is None or hard is None:
        raise field.invalid(node.mark, f"limit '{name}' needs both soft and hard.", f"or write '{name}: <number>'")
    return Ulimit(name=name, soft=values.integer(soft, field), hard=values.integer(hard, field))


def tmpfs(node: Node, field: Field) -> MappingABC[str, str]:
    """Paths with their mount options."""
    split = (text.partition(":") for text in values.string_or_list(node, field))
    return {path: mount_options for path, _, mount_options in split}


def logging(node: Node, field: Field) -> Logging:
    """`{driver, options}`."""
    if not isinstance(node, Mapping):
        raise field.wrong_type(node, values.MAP)
    _only(node, field, "driver", "options")
    driver, given = node.get("driver"), node.get("options")
    return Logging(
        driver=None if driver is None or is_null(driver) else values.string(driver, field),
        options=None if given is None or is_null(given) else values.options(given, field),
    )


def build(node: Node, field: Field) -> Build:
    """A context, or `{context, dockerfile, args}`."""
    if isinstance(node, Mapping):
        _only(node, field, "context", "dockerfile", "args")
        context, dockerfile, args = node.get("context"), node.get("dockerfile"), node.get("args")
        if args is not None and not is_null(args):
            field.problems.warn(
                args.mark, f"Service '{field.service}': build args have no effect", "use ENV in the image"
            )
        return Build(
            context=None if context is None or is_null(context) else values.string(context, field),
            dockerfile=None if dockerfile is None or is_null(dockerfile) else values.string(dockerfile, field),
            args=None if args is None or is_null(args) else values.pairs(args, field),
        )
    if isinstance(node, Sequence):
        raise field.wrong_type(node, values.STRING, values.MAP)
    return Build(context=values.string(node, field))


def restart(node: Node, field: Field) -> RestartPolicy:
    """`no`, `always`, `unless-stopped`, `on-failure[:n]`; an unquoted `no` is a YAML boolean and means the same."""
    text = "no" if isinstance(node, Scalar) and node.value is False else values.string(node, field)
    match = _RESTART.fullmatch("no" if text in ("false", "") else text)
    if not match or (match.group(2) and match.group(1) != "on-failure"):
        raise field.invalid(node.mark, f"is '{text}'.", "write no, always, unless-stopped or on-failure[:number]")
    return RestartPolicy(name=match.group(1), maximum_retry_count=int(match.group(2) or 0))


def secrets(node: Node, field: Field) -> tuple[SecretMount, ...]:
    """Secret names, or `{source, target, uid, gid, mode}`; the target defaults to the source."""
    if not isinstance(node, Sequence):
        raise field.wrong_type(node, values.LIST)
    return tuple(_secret(item, field) for item in node.items)


def _secret(node: Node, field: Field) -> SecretMount:
    if not isinstance(node, Mapping):
        name = values.item_text(node, field)
        return SecretMount(source=name, target=name)
    _only(node, field, "source", "target", "uid", "gid", "mode")
    given = {entry.key: entry.value for entry in node if not is_null(entry.value)}
    if "source" not in given:
        raise field.invalid(node.mark, "has a secret without 'source'.", "name the secret in 'source'")
    source = values.any_text(given["source"], field)
    return SecretMount(
        source=source,
        target=values.any_text(given["target"], field) if "target" in given else source,
        uid=values.any_text(given["uid"], field) if "uid" in given else "",
        gid=values.any_text(given["gid"], field) if "gid" in given else "",
        mode=_mode(given["mode"], field) if "mode" in given else "",
    )


def _mode(node: Node, field: Field) -> str:
    """File mode as octal text. A YAML integer was read as octal already (`0400`); text is octal."""
    if isinstance(node, Scalar) and isinstance(node.value, int) and not isinstance(node.value, bool):
        return f"{node.value:o}" if 0 <= node.value <= 0o777 else str(node.value)
    text = values.string(node, field)
    if not _OCTAL.fullmatch(text):
        raise field.invalid(node.mark, f"has the mode '{text}'.", "write an octal mode such as 0400")
    return f"{int(text.replace('o', ''), 8):o}"


def depends_on(node: Node, field: Field) -> MappingABC[str, str]:
    """Names with the condition to wait for; the list form waits for the start."""
    if isinstance(node, Mapping):
        return {entry.key: _condition(entry.key, entry.value, entry.mark, field) for entry in node}
    if isinstance(node, Sequence):
        return dict.fromkeys(values.string_list(node, field), "service_started")
    raise field.wrong_type(node, values.LIST, values.MAP)


def _condition(name: str, node: Node, mark: Mark, field: Field) -> str:
    if is_null(node):
        return "service_started"
    condition = node.get("condition") if isinstance(node, Mapping) else None
    text = condition.text if isinstance(condition, Scalar) else "service_started"
    if text in _CONDITIONS:
        return text
    field.problems.warn(mark, f"Service '{field.service}' waits for '{name}' to start: '{text}' is not supported")
    return "service_started"


def extends(node: Node, field: Field) -> Extends:
    """The name of a service in this file, or `{service, file}`."""
    if isinstance(node, Mapping):
        _only(node, field, "service", "file")
        service, file = node.get("service"), node.get("file")
        if service is None or is_null(service):
            raise field.invalid(node.mark, "names no service to extend.", "add 'service: <name>'")
        name = None if file is None or is_null(file) else values.string(file, field)
        return Extends(service=values.any_text(service, field), file=name)
    if isinstance(node, Sequence):
        raise field.wrong_type(node, values.STRING, values.MAP)
    return Extends(service=values.string(node, field))


def healthcheck(node: Node, field: Field) -> DockerHealthCheck:
    """Docker's health check; `disable: true` means the test `NONE`."""
    if not isinstance(node, Mapping):
        raise field.wrong_type(node, values.MAP)
    given = {entry.key: entry.value for entry in node if not is_null(entry.value)}
    for entry in node:
        if entry.key == "start_period":
            field.problems.warn(entry.mark, f"Service '{field.service}': start_period of healthcheck has no effect")
            given.pop(entry.key, None)
    _only(node, field, "test", "interval", "timeout", "retries", "start_period", "disable")
    test: tuple[str, ...] | None = None
    if "disable" in given and values.boolean(given["disable"], field):
        test = ("NONE",)
    elif "test" in given:
        written = given["test"]
        is_list = isinstance(written, Sequence)
        test = values.words(written, field) if is_list else ("CMD-SHELL", values.string(written, field))
    return DockerHealthCheck(
        test=test,
        interval=values.seconds(given["interval"], field) if "interval" in given else None,
        timeout=values.seconds(given["timeout"], field) if "timeout" in given else None,
        retries=values.integer(given["retries"], field) if "retries" in given else None,
    )


def network_mode(node: Node, field: Field) -> str | None:
    """The mode as written; empty text counts as absent."""
    return values.string(node, field) or None


def _only(node: Mapping, field: Field, *known: str) -> None:
    for entry in node:
        if entry.key not in known:
            raise field.invalid(entry.mark, f"contains unsupported option: '{entry.key}'", f"known: {', '.join(known)}")
