"""Networks and the services that provide them: ranges that make sense, and no network taken away while it is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from drover.client.network_policy import PolicyError, parse_policy
from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.errors import ApiError, invalid
from drover.server.api.extensions import Extensions, Prepared
from drover.server.orchestration.networks.drivers import SERVICE_KIND
from drover.server.orchestration.networks.psk import ExchangeUnderWay, NetworkKeys
from drover.server.orchestration.networks.subnets import BadSubnet, subnet_values
from drover.server.orchestration.networks.usage import used_from_outside
from drover.server.store import Record


def register(extensions: Extensions) -> None:
    extensions.rule("network")(check_network)
    extensions.rule(SERVICE_KIND)(check_driver_service)
    extensions.action("exchangekey", "network")(exchange_key)
    for action in ("remove", "deactivate"):
        extensions.prepares(action, SERVICE_KIND)(_before_service)
    extensions.prepares("remove", "stack")(_before_stack_removal)


async def check_network(draft: Draft) -> None:
    driver_id = draft.values.get("networkDriverId")
    if draft.creating and driver_id is not None:
        driver = await draft.call.store.get("networkDriver", int(driver_id))
        if driver is None or driver["removed"] is not None or driver.account_id != draft.get("accountId"):
            raise invalid("InvalidReference", "networkDriverId", "There is no such driver here; see /networkdrivers")
    _check_subnets(draft.values.get("subnets") or ())
    if "policy" in draft.values or "defaultPolicyAction" in draft.values:
        _check_policy(draft.get("policy"), draft.get("defaultPolicyAction"))


async def check_driver_service(draft: Draft) -> None:
    driver: Mapping[str, Any] = draft.values.get("networkDriver") or {}
    network: Mapping[str, Any] = driver.get("defaultNetwork") or {}
    _check_subnets(network.get("subnets") or ())
    _check_policy(network.get("policy"), network.get("defaultPolicyAction"))


def _check_policy(policy: Any, default_action: Any) -> None:
    """A host keeps its last rules when it cannot read a policy, so an unusable one must not get that far."""
    try:
        parse_policy(policy, default_action)
    except PolicyError as error:
        raise invalid("InvalidOption", "policy", str(error)) from error


def _check_subnets(given: Iterable[Mapping[str, Any]]) -> None:
    for each in given:
        try:
            subnet_values(each)
        except BadSubnet as bad:
            raise invalid("InvalidFormat", bad.field, str(bad)) from bad


async def exchange_key(call: Call, record: Record, _given: dict[str, Any]) -> Record:
    """Give the network's routers another pre-shared key; their tunnels change over to it without a break."""
    try:
        return await NetworkKeys(call.context).exchange(record)
    except ExchangeUnderWay as error:
        raise ApiError(409, "ExchangeUnderWay", str(error)) from error


async def _before_service(call: Call, record: Record, given: dict[str, Any]) -> Prepared:
    await refuse_if_used(call, [record])
    return Prepared(data=given)


async def _before_stack_removal(call: Call, record: Record, given: dict[str, Any]) -> Prepared:
    await refuse_if_used(call, await call.store.find_by("service", stackId=record.id, removed=None))
    return Prepared(data=given)


async def refuse_if_used(call: Call, services: Sequence[Record]) -> None:
    """Refuse what would end a network that containers elsewhere still have an address in. Source: Rancher 1.6."""
    user = await used_from_outside(call.store, services)
    if user is not None:
        raise ApiError(
            409,
            "DRIVER_IN_USE",
            "Driver from service is in use by instances; remove them first",
            detail=f"one of them is {user.name or user.id}",
        )
