"""``publicEndpoints`` of services and hosts, from the ports of their containers."""

from __future__ import annotations

import pytest

from drover.server.orchestration.context import Context
from tests.server.api.client import ApiClient

pytestmark = pytest.mark.anyio


async def test_endpoints_name_the_address_that_is_bound_or_the_hosts(context: Context, owner: ApiClient) -> None:
    changes = context.store.changes()
    base = {"accountId": 5, "state": "active"}
    host = changes.insert("host", {**base, "kind": "docker", "agentIpAddress": "192.0.2.9"})
    service = changes.insert("service", {**base, "kind": "service", "name": "web"})
    instance = changes.insert(
        "instance",
        {**base, "kind": "container", "state": "running", "serviceId": service.id, "hostId": host.id},
    )
    for public, address in ((80, "0.0.0.0"), (81, "127.0.0.1"), (82, None)):
        values = {"instanceId": instance.id, "publicPort": public, "privatePort": 80, "bindAddress": address}
        changes.insert("port", {**base, "kind": "userPort", **values})
    await context.store.commit(changes)
    for path in (f"services/1s{service.id}", f"hosts/1h{host.id}"):
        shown = (await owner.get(path)).json["publicEndpoints"]
        assert [(each["port"], each["ipAddress"]) for each in shown] == [
            (80, "192.0.2.9"),
            (81, "127.0.0.1"),
            (82, "192.0.2.9"),
        ]
        assert shown[0]["instanceId"] == f"1i{instance.id}"
