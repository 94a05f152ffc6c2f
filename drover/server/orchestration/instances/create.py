"""Creating a container: everything that can be settled before it has a host. One commit, nothing sent to anybody."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from typing import Any

from drover.server.lifecycle import Again, Chain, Delegate, Done, Outcome, Run
from drover.server.orchestration.agents.accounts import plan_instance_agent
from drover.server.orchestration.agents.uris import of_instance
from drover.server.orchestration.context import Context
from drover.server.orchestration.images.credentials import RegistryCredentials
from drover.server.orchestration.images.reference import with_default_registry
from drover.server.orchestration.images.trust import is_trusted_balancer
from drover.server.orchestration.instances import labels as names
from drover.server.orchestration.instances.plan import plan_instance
from drover.server.orchestration.networks.resolve import NetworkPending, Networks, NoSuchNetwork
from drover.server.orchestration.volumes import named
from drover.server.store import Changes, Record

_ETC_MOUNT = "/var/lib/rancher/etc:/var/lib/rancher/etc:ro"
_ROLES = ("agent", "environment", "environmentAdmin")
_COPIED = frozenset({"id", "uuid", "state", "count", "transitioning", "transitioningMessage", "transitioningProgress"})
_TOKEN_BYTES = 64
_PENDING_SECONDS = 0.5


class Create:
    """The handler of ``instance.create``."""

    def __init__(self, context: Context, networks: Networks, credentials: RegistryCredentials) -> None:
        self._context = context
        self._networks = networks
        self._credentials = credentials

    async def __call__(self, run: Run) -> Outcome:
        instance = run.record
        changes = run.plan()
        if run.data.get("startOnCreate") is False or instance["startOnCreate"] is False:
            started: type[Done] | type[Delegate] = Done
        else:
            started = Delegate
        try:
            values = await self._settle(instance, changes)
        except (NoSuchNetwork, named.AmbiguousVolume) as error:
            return _refused(instance, str(error))
        except NetworkPending as pending:
            return Again(_PENDING_SECONDS, str(pending))
        await self._plan_copies(instance, changes)
        run.data["creating"] = True
        return started(values, changes)

    async def _settle(self, instance: Record, changes: Changes) -> dict[str, Any]:
        environment_id = int(instance["accountId"])
        labels = names.labels_of(instance.values)
        values: dict[str, Any] = {"token": instance["token"] or _token()}
        if labels.get(names.DISPLAY_NAME):
            values["name"] = labels[names.DISPLAY_NAME].removeprefix("/")
        await self._settle_network(instance, labels, values)
        if named.needs_lookup(instance.values):
            wishes = await named.resolve(self._context.store, changes, instance)
            values["dataVolumes"], values["dataVolumeMounts"] = wishes.data_volumes, wishes.mounts
        if names.is_true(labels.get(names.CREATE_AGENT)) and instance["agentId"] is None:
            await self._plan_agent(instance, labels, values, changes)
        if instance["imageUuid"]:
            image = with_default_registry(str(instance["imageUuid"]), self._context.settings.get("registry.default"))
            if image != instance["imageUuid"]:
                values["imageUuid"] = image
            values["registryCredentialId"] = instance["registryCredentialId"] or await self._credentials.choose(
                environment_id, image
            )
        log_config = instance["logConfig"]
        if log_config and log_config.get("driver") and not log_config.get("config"):
            values["logConfig"] = {**log_config, "config": {}}
        if instance["system"]:
            labels[names.SYSTEM] = "true"
        account = await self._context.store.get("account", environment_id)
        if account is not None:
            labels[names.ENVIRONMENT_UUID] = account.uuid
        values["labels"] = labels
        return values

    async def _settle_network(self, instance: Record, labels: dict[str, str], values: dict[str, Any]) -> None:
        environment_id = int(instance["accountId"])
        network = await self._networks.choose(environment_id, instance["networkMode"], labels)
        values["networkIds"] = [network.id]
        values["primaryNetworkId"] = network.id
        if not instance["nativeContainer"]:
            labels.pop(names.NETWORK, None)
        if labels.get(names.REQUESTED_IP):
            values["requestedIpAddress"] = labels[names.REQUESTED_IP]
        if instance.kind == "container" and labels.get(names.DNS, "").lower() != "false":
            values.update(_dns_values(instance, network, labels))

    async def _plan_agent(
        self, instance: Record, labels: dict[str, str], values: dict[str, Any], changes: Changes
    ) -> None:
        """A container that may talk to the API gets an agent of its own, whose keys it finds in its environment."""
        wanted = [each.strip() for each in labels.get(names.AGENT_ROLE, "").split(",") if each.strip() in _ROLES]
        if not (instance["system"] or await self._is_trusted_balancer(instance)):
            wanted = ["environment" if each == "environmentAdmin" else each for each in wanted]
        agent, _ = plan_instance_agent(
            changes,
            self._context.vault,
            uri=of_instance(instance.id, labels.get(names.AGENT_URI_PREFIX, "")),
            environment_id=int(instance["accountId"]),
            roles=wanted,
            system=bool(instance["system"]),
        )
        values["agentId"] = agent.id
        if labels.get(names.AGENT_VOLUMES) != "skip":
            volumes = list(values.get("dataVolumes") or instance["dataVolumes"] or [])
            if _ETC_MOUNT not in volumes:
                values["dataVolumes"] = [*volumes, _ETC_MOUNT]

    async def _is_trusted_balancer(self, instance: Record) -> bool:
        if instance["serviceId"] is None or not is_trusted_balancer(self._context.settings, instance.values):
            return False
        service = await self._context.store.get("service", int(instance["serviceId"]))
        return service is not None and service.kind == "loadBalancerService"

    async def _plan_copies(self, instance: Record, changes: Changes) -> None:
        """``count`` asks for several containers: this one is the first, the others are planned with it."""
        count = int(instance["count"] or 1)
        if count <= 1:
            return
        for type_name in ("instance", "processInstance"):
            await self._context.store.ensure_ids(type_name, count)
        given = {name: value for name, value in instance.values.items() if name not in _COPIED}
        for number in range(2, count + 1):
            name = f"{instance.name}-{number}" if instance.name else None
            plan_instance(self._context, changes, {**given, "name": name})
        changes.update(instance, {"count": None})


def _refused(instance: Record, reason: str) -> Chain:
    """Nobody will make it right: it goes. One of a service ends in *error*, which its service counts: were it simply
    gone, the next one would be made at once, and so on."""
    process = "instance.remove" if instance["serviceId"] is None else "instance.error"
    return Chain(process, {"transitioning": "error", "transitioningMessage": reason})


def _dns_values(instance: Record, network: Record, labels: Mapping[str, str]) -> dict[str, Any]:
    """Name servers and search domains: the container's own, then the network's. Hosts are told by the joined ones."""
    dns, search = list(instance["dns"] or []), list(instance["dnsSearch"] or [])
    if network["networkDriverId"] is not None:  # else no name server is behind the network's address yet
        dns = list(dict.fromkeys([*dns, *(network["dns"] or [])]))
        if labels.get(names.DNS_PRIORITY, "").lower() != "none":
            search = list(dict.fromkeys([*search, *(network["dnsSearch"] or [])]))
    return {
        **({"dns": dns} if dns else {}),
        **({"dnsSearch": search} if search else {}),
        "dnsInternal": ",".join(dns) or None,
        "dnsSearchInternal": ",".join(search) or None,
    }


def _token() -> str:
    text = base64.b64encode(secrets.token_bytes(_TOKEN_BYTES)).decode()
    return text.replace("/", "").replace("=", "").replace("+", "")
