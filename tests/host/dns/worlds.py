"""Worlds for the DNS tests: the one of ``name_cases.json``, and small changes to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drover.client.world import (
    Change,
    Container,
    Delta,
    Environment,
    Full,
    HealthCheck,
    Host,
    Key,
    Membership,
    Object,
    Service,
    Stack,
    World,
)
from drover.host.dns.directory import Directory
from drover.host.dns.view import Shared

NAME_CASES: dict[str, Any] = json.loads(Path(__file__).with_name("name_cases.json").read_text())
OWN = "env-1"
HERE = "host-1"


@dataclass
class Names:
    """A world with the directory that follows it."""

    world: World
    directory: Directory
    shared: Shared

    def change(self, *objects: Object, gone: tuple[Key, ...] = ()) -> bool:
        """Apply a change; whether any record differs afterwards."""
        frame = Change(self.world.epoch, self.world.revision, self.world.revision + 1, changed=objects, gone=gone)
        return self.directory.apply(self.world.apply(frame))

    def full(self, *objects: Object, host: str = HERE) -> Delta:
        delta = self.world.apply(Full(self.world.epoch, self.world.revision + 1, objects, host=host))
        self.directory.apply(delta)
        return delta

    def addresses(self, name: str) -> list[str]:
        answer = self.shared.records.get(name)
        return [] if answer is None else answer.texts_of_addresses


def names_of(*objects: Object, host: str = HERE) -> Names:
    world, shared = World(), Shared()
    directory = Directory(world, shared, metadata_answer=("169.254.169.250",), excluded=("169.254.169.250", "agent_ip"))
    names = Names(world, directory, shared)
    world.epoch = "e"
    names.full(*base(), *objects, host=host)
    return names


def base() -> tuple[Object, ...]:
    return (
        Environment(uuid=OWN, name="Default"),
        Host(uuid=HERE, agent_ip="172.16.0.1", environment_uuid=OWN),
        Host(uuid="host-2", agent_ip="172.16.0.2", environment_uuid=OWN),
        Stack(uuid="stack-shop", name="shop", environment_uuid=OWN, environment_name="Default"),
        Stack(uuid="stack-other", name="other", environment_uuid=OWN, environment_name="Default"),
    )


def service(name: str, stack: str = "shop", **fields: Any) -> Service:
    fields.setdefault("uuid", f"{stack}-{fields.get('primary_service_name') or name}")
    fields.setdefault("environment_uuid", OWN)
    return Service(name=name, stack_name=stack, stack_uuid=f"stack-{stack}", **fields)


def container(name: str, address: str | None, *services: Service, **fields: Any) -> Container:
    fields.setdefault("state", "running")
    fields.setdefault("environment_uuid", OWN)
    fields.setdefault("host_uuid", HERE)
    fields.setdefault("uuid", f"c-{name}")
    memberships = tuple(Membership(each.uuid, each.name) for each in services)
    return Container(name=name, primary_ip=address, memberships=memberships, **fields)


def case_objects() -> list[Object]:
    """The environment of the name cases."""
    found: list[Object] = []
    by_address: dict[str, str] = {}
    searches = {each["ip"]: tuple(each["dns_search"] or ()) for each in NAME_CASES["clients"].values()}
    index = 0
    for each in NAME_CASES["services"]:
        port = each.get("health_check_port", 0)
        made = service(
            each["name"],
            each["stack_name"],
            kind=each["kind"],
            primary_service_name=each.get("primary_service_name"),
            vip=each.get("vip"),
            hostname=each.get("hostname"),
            external_ips=tuple(each.get("external_ips", ())),
            links=each["links"],
            health_check=HealthCheck(port=port) if port else None,
        )
        found.append(made)
        for member in each["containers"]:
            index += 1
            found.append(
                container(
                    member["name"],
                    member["ip"],
                    made,
                    state=member["state"],
                    health_state=member["health"] or None,
                    create_index=index,
                    dns_search=searches.get(member["ip"], ()),
                )
            )
            by_address[member["ip"]] = f"c-{member['name']}"
    for each in NAME_CASES["standalone"]:
        links = {name: by_address[address] for name, address in each["links"].items()}
        found.append(container(each["name"], each["ip"], links=links, dns_search=searches[each["ip"]]))
    return found
