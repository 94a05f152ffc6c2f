"""The body of `POST /containers/create`, built step by step.

The order of the steps matters, because later ones overwrite earlier ones (Rancher 1.6 documents it as part of
the contract): agent labels, fields, environment, host settings, network, and at last the user's labels again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from drover.host.agent.errors import AgentError
from drover.host.agent.parameters.facts import MappingFacts
from drover.host.agent.parameters.host_config import Dropped, host_config
from drover.host.agent.parameters.links import add_link_environment
from drover.host.agent.parameters.names import (
    LABEL_AGENT_ID,
    LABEL_CATTLE_URL,
    LABEL_NAME,
    LABEL_UUID,
    container_name,
)
from drover.host.agent.parameters.network import (
    add_dns_search,
    add_managed_network,
    add_network,
    add_ports,
    network_labels,
)
from drover.host.agent.parameters.volumes import add_volumes
from drover.host.agent.payload import ContainerFields, Instance, InstanceHostMap, text_map

LOCAL_API_PROXY_PORT = "9342"
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class CreateParameters:
    """A create call: the container's name, its image, the JSON body, and what could not be passed on."""

    name: str
    image: str
    body: dict[str, Any]
    dropped: tuple[Dropped, ...] = ()


def docker_parameters(instance_host_map: InstanceHostMap, facts: MappingFacts) -> CreateParameters:
    """Maps one container. Raises AgentError when the request cannot be carried out at all."""
    instance = instance_host_map.instance
    if not instance.uuid:
        raise AgentError("the request names no container: instance.uuid is empty")
    image = image_reference(instance)
    labels = _agent_labels(instance)
    dropped: list[Dropped] = []
    body: dict[str, Any] = {"Image": image, "Labels": labels, **_config(instance)}
    settings = host_config(instance, facts, dropped)
    add_dns_search(settings, instance, facts)
    if environment := _environment(instance, facts):
        body["Env"] = [f"{key}={value}" for key, value in environment.items()]
    add_ports(body, settings, instance)
    add_volumes(body, settings, instance, facts)
    add_network(body, settings, instance, facts)
    labels.update(instance.labels)
    add_managed_network(body, settings, instance, facts)
    body["HostConfig"] = settings
    return CreateParameters(
        name=container_name(name=instance.name, uuid=instance.uuid),
        image=image,
        body=body,
        dropped=tuple(dropped),
    )


def image_reference(instance: Instance) -> str:
    """`docker:nginx:1.25` -> `nginx:1.25`."""
    image = (instance.fields.image_uuid or "").removeprefix("docker:")
    if not image:
        raise AgentError(f"container {instance.name or instance.uuid} has no image: set imageUuid")
    return image


def _agent_labels(instance: Instance) -> dict[str, str]:
    labels = {LABEL_UUID: instance.uuid or ""}
    if instance.name:
        labels[LABEL_NAME] = instance.name
    labels.update(network_labels(instance))
    if instance.agent_id:
        labels[LABEL_AGENT_ID] = str(instance.agent_id)
    return labels


def _config(instance: Instance) -> dict[str, Any]:
    """The container's own configuration: what runs, as whom, where."""
    fields = instance.fields
    config: dict[str, Any] = {
        "Cmd": fields.command if isinstance(fields.command, list) else None,
        "Entrypoint": fields.entry_point if isinstance(fields.entry_point, list) else None,
        "WorkingDir": fields.working_dir,
        "User": fields.user,
        "Tty": fields.tty,
        "OpenStdin": fields.stdin_open,
        "Domainname": fields.domain_name,
        "Hostname": instance.hostname,
        "StopSignal": fields.stop_signal,
        "Healthcheck": _health_check(fields),
    }
    config = {key: value for key, value in config.items() if value}
    if fields.stop_timeout is not None:
        config["StopTimeout"] = fields.stop_timeout
    return config


def _health_check(fields: ContainerFields) -> dict[str, Any]:
    """Docker's own health check; an empty command inherits the image's with other times."""
    check: dict[str, Any] = {
        "Test": fields.health_cmd,
        "Interval": (fields.health_interval or 0) * NANOSECONDS,
        "Timeout": (fields.health_timeout or 0) * NANOSECONDS,
        "Retries": fields.health_retries,
    }
    return {key: value for key, value in check.items() if value}


def _environment(instance: Instance, facts: MappingFacts) -> dict[str, str]:
    environment = text_map(instance.fields.environment)
    add_link_environment(environment, instance)
    if instance.system:
        environment.update(facts.proxy_environment)
    if instance.agent_id or instance.labels.get(LABEL_CATTLE_URL) == "true":
        for key, value in _server_address(facts.config_url).items():
            environment.setdefault(key, value)
    return environment


def _server_address(config_url: str) -> dict[str, str]:
    """How a container that talks to the server finds it.

    `localhost` means the host, not the container, so such a URL is taken apart and its port replaced by that
    of the host's local proxy.
    """
    if not config_url:
        return {}
    parts = urlsplit(config_url)
    if "localhost" not in (parts.hostname or ""):
        return {"CATTLE_CONFIG_URL": config_url, "CATTLE_URL": config_url}
    return {
        "CATTLE_AGENT_INSTANCE": "true",
        "CATTLE_CONFIG_URL_SCHEME": parts.scheme,
        "CATTLE_CONFIG_URL_PATH": parts.path,
        "CATTLE_CONFIG_URL_PORT": LOCAL_API_PROXY_PORT,
    }
