"""Links between containers, as the environment variables of Docker's old `--link`.

Docker's own links are never used: they cannot cross hosts, and names are resolved by DNS. Programs written for
links still find the variables they expect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from drover.host.agent.payload import Instance, InstanceLink, LinkPort

_NOT_A_VARIABLE = re.compile(r"[^A-Za-z0-9_]")
_NOT_COPIED = frozenset({"HOME", "PATH"})
_LINK_VARIABLE = re.compile(r"(_ENV_|_PORT$|_PORT_|_NAME$)")


def add_link_environment(environment: dict[str, str], instance: Instance) -> None:
    """Adds the variables of every link; a variable that the user set stays as it is."""
    for link in instance.instance_links or ():
        for key, value in _link_variables(link):
            environment.setdefault(key, value)


def _link_variables(link: InstanceLink) -> Iterator[tuple[str, str]]:
    link_name = link.link_name or ""
    fields = link.data.fields if link.data else None
    ports = (fields and fields.ports) or []
    target_environment = _copied_environment(link.target_instance)
    for name in _names(link_name, (fields and fields.instance_names) or []):
        prefix = _NOT_A_VARIABLE.sub("_", name).upper()
        host = name.lower() if name == link_name else link_name
        yield f"{prefix}_NAME", f"/cattle/{name}"
        for port in ports:
            yield from _port_variables(prefix, host, port)
        for key, value in target_environment:
            yield f"{prefix}_ENV_{key}", value


def _names(link_name: str, instance_names: list[str]) -> list[str]:
    """The link's name, each linked instance's name, and that name without its project prefix."""
    names = [link_name] if link_name else []
    for name in instance_names:
        names.append(name)
        _, separator, short = name.partition("_")
        if separator and short:
            names.append(short)
    return names


def _port_variables(prefix: str, host: str, port: LinkPort) -> Iterator[tuple[str, str]]:
    if not port.private_port:
        return
    number, protocol = port.private_port, (port.protocol or "tcp").lower()
    address = f"{protocol}://{host}:{number}"
    key = f"{prefix}_PORT_{number}_{protocol.upper()}"
    yield f"{prefix}_PORT", address
    yield key, address
    yield f"{key}_ADDR", host
    yield f"{key}_PORT", str(number)
    yield f"{key}_PROTO", protocol


def _copied_environment(target: Instance | None) -> list[tuple[str, str]]:
    """The target's own variables, without those that stem from its links (they would multiply)."""
    inspect = target and target.data and target.data.docker_inspect
    variables = (inspect and inspect.config and inspect.config.env) or []
    pairs = (variable.partition("=") for variable in variables)
    prefixes = _linked_prefixes(variables)
    return [
        (key, value)
        for key, _, value in pairs
        if key not in _NOT_COPIED and not (_LINK_VARIABLE.search(key) and key.startswith(prefixes))
    ]


def _linked_prefixes(variables: list[str]) -> tuple[str, ...]:
    """`DB_NAME=/cattle/db` tells that every `DB_…` link variable came from a link called db."""
    prefixes = []
    for variable in variables:
        key, _, value = variable.partition("=")
        if key.endswith("_NAME") and value.startswith("/cattle/"):
            prefixes.append(key.removesuffix("NAME"))
    return tuple(prefixes)
