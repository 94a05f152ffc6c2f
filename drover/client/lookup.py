"""From what a person writes to a resource.

People name things: `web`, `shop/web`, `1s7`, a host's name. A name is looked for in the types that a command can
work on, one filtered request a type; `stack/service` names a service, and `stack/service/sidekick` or a number
behind the service (`shop/web/2`, or the container name `shop-web-2`) names one of its containers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from drover.client.api import ApiClient
from drover.client.errors import Ambiguous, NoMatch
from drover.client.resource import Resource

_ID = re.compile(r"1([a-z]+)\d+")

# The letters of an id say the base type (Rancher 1.6), so that an id costs one request and not one per type.
_TYPES_BY_LETTERS = {
    "a": "project",
    "c": "credential",
    "h": "host",
    "i": "container",
    "ph": "machine",
    "pt": "projectTemplate",
    "s": "service",
    "se": "secret",
    "st": "stack",
    "e": "stack",
    "v": "volume",
}
_UNSCOPED = frozenset({"project", "projectTemplate", "account"})


async def lookup(client: ApiClient, text: str, types: Sequence[str]) -> Resource:
    """The resource that `text` (id or name) means among `types`.

    Raises NoMatch when there is none and Ambiguous when the name fits several; the message lists their ids.
    """
    if (match := _ID.fullmatch(text)) and (by_id := await _by_id(client, text, match.group(1), types)):
        return by_id
    found: list[Resource] = []
    for type_name in types:
        found.extend(await _by_name(client, text, type_name))
    if not found:
        kinds = ", ".join(types[:-1]) + " or " + types[-1] if len(types) > 1 else types[0]
        raise NoMatch(f"there is no {kinds} {text!r} in this environment")
    if len(found) > 1:
        choices = ", ".join(resource.label for resource in found)
        raise Ambiguous(f"{text!r} may mean {choices}: use the id")
    return found[0]


async def find_stack(client: ApiClient, name: str) -> Resource | None:
    """The live stack of this name; the comparison ignores case, as the uniqueness of stack names does."""
    found = await client.list("stack", {"name": name, "removed_null": "1"})
    exact = [stack for stack in found if stack.name == name] or found
    return exact[0] if exact else None


async def containers_of(client: ApiClient, resource: Resource) -> list[Resource]:
    """The containers behind a container (itself) or a service, in the order of their names."""
    if resource.base_type != "service":
        return [resource]
    instances = await client.related(resource, "instances")
    return sorted((item for item in instances if not item.gone), key=lambda item: natural_key(item.name))


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort `web-2` before `web-10`."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


async def _by_id(client: ApiClient, text: str, letters: str, types: Sequence[str]) -> Resource | None:
    wanted = _TYPES_BY_LETTERS.get(letters)
    if wanted is None or wanted not in types:
        return None
    found = await _view(client, wanted).try_get(wanted, text)
    return found if found is not None and found.id == text and not found.gone else None


async def _by_name(client: ApiClient, text: str, type_name: str) -> list[Resource]:
    if type_name == "service" and "/" in text:
        return await _service_of_stack(client, text)
    if type_name == "container" and "/" in text:
        text = text.replace("/", "-")
    view = _view(client, type_name)
    filters = {"name": text} if type_name == "project" else {"name": text, "removed_null": "1"}
    found = await view.list(type_name, filters)
    if type_name == "host" and not found:
        # Hosts are known by the name of the machine more than by the display name, which is often empty.
        hosts = await view.list("host", {"removed_null": "1"})
        found = [host for host in hosts if host.text("hostname") == text]
    return [resource for resource in found if not resource.gone]


async def _service_of_stack(client: ApiClient, text: str) -> list[Resource]:
    stack_name, _, service_name = text.partition("/")
    stack = await find_stack(client, stack_name)
    if stack is None:
        return []
    return await client.list("service", {"stackId": stack.id, "name": service_name, "removed_null": "1"})


def _view(client: ApiClient, type_name: str) -> ApiClient:
    return client.unscoped() if type_name in _UNSCOPED else client
