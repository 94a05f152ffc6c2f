"""Load balancers: their port rules, and what every balancer's container needs to do its work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from drover.placement.selectors import SelectorError, parse_selector
from drover.server.api.draft import Draft
from drover.server.api.errors import invalid
from drover.server.orchestration.images.own import stand_in
from drover.server.orchestration.services.links import Link, links_of, plan_links
from drover.server.orchestration.services.membership import BY_SELECTOR
from drover.server.orchestration.settings import Settings

HEALTH_CHECK_PORT = 42

_SECURE = frozenset({"https", "tls"})  # end here; sni is passed through
_HEALTH_CHECK = {
    "port": HEALTH_CHECK_PORT,
    "interval": 2000,
    "healthyThreshold": 2,
    "unhealthyThreshold": 3,
    "responseTimeout": 2000,
    "initializingTimeout": 60000,
    "reinitializingTimeout": 60000,
}
_AGENT_LABELS = {
    "io.rancher.container.create_agent": "true",
    "io.rancher.container.agent.role": "environmentAdmin",
}
_DRAINING_LABELS = {
    **_AGENT_LABELS,
    "io.rancher.container.agent.role": "environmentAdmin,agent",
    "io.rancher.container.agent_service.drain_provider": "true",
}
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


def check_balancer(draft: Draft) -> None:
    """The rules of ``lbConfig``. Raises ApiError for the first that cannot work."""
    if not draft.changes("lbConfig"):
        return
    config = draft.values.get("lbConfig") or {}
    seen: set[tuple[Any, ...]] = set()
    for rule in config.get("portRules") or ():
        _check_rule(rule, config)
        key = tuple(rule.get(name) for name in ("sourcePort", "hostname", "path", "serviceId", "selector"))
        if key in seen:
            raise invalid("NotUnique", "portRules", "Two port rules have the same port, hostname, path and target")
        seen.add(key)


def _check_rule(rule: dict[str, Any], config: dict[str, Any]) -> None:
    service, selector = rule.get("serviceId"), rule.get("selector")
    if service is None and not selector:
        raise invalid("MissingRequired", "serviceId", "A port rule needs a target: give serviceId or selector")
    if service is not None and selector:
        raise invalid(
            "InvalidOption", "selector", "A port rule has one target: serviceId and selector exclude each other"
        )
    if service is not None and rule.get("targetPort") is None:
        raise invalid(
            "MissingRequired", "targetPort", "A port rule with a serviceId needs the targetPort of the service"
        )
    if rule.get("region") and not rule.get("environment"):
        raise invalid("MissingRequired", "environment", "A port rule with a region needs the environment there")
    if selector:
        try:
            parse_selector(str(selector))
        except SelectorError as error:
            raise invalid("InvalidFormat", "selector", str(error)) from error
    for name in ("sourcePort", "targetPort"):
        port = rule.get(name)
        if port is not None and not 1 <= port <= 65535:
            raise invalid("InvalidOption", name, f"{name} must be from 1 to 65535")
    if rule.get("sourcePort") == HEALTH_CHECK_PORT:
        raise invalid("InvalidOption", "sourcePort", f"Port {HEALTH_CHECK_PORT} is reserved for the health check")
    if rule.get("protocol") in _SECURE and not (config.get("defaultCertificateId") or config.get("certificateIds")):
        raise invalid("MissingRequired", "defaultCertificateId", "https and tls rules need a certificate")


def complete_balancer(settings: Settings, launch: dict[str, Any] | None) -> None:
    """What the balancer's container needs: an account of its own, and a health check unless it has one."""
    if not launch:
        return
    standard = str(settings.get("lb.instance.image"))
    if not launch.get("imageUuid"):
        launch["imageUuid"] = f"docker:{standard}"
    image = str(launch["imageUuid"]).removeprefix("docker:")
    since = str(settings.get("loadbalancher.drain.image.version"))
    drains = can_drain(image, standard, since=since) or runs_own_balancer({**launch, **stand_in(settings, launch)})
    launch["labels"] = {**(_DRAINING_LABELS if drains else _AGENT_LABELS), **(launch.get("labels") or {})}
    if not launch.get("healthCheck"):
        launch["healthCheck"] = dict(_HEALTH_CHECK)


def can_drain(image: str, standard: str, *, since: str) -> bool:
    """Whether a balancer's image answers requests to drain: the standard one, or its repository since a version."""
    if image == standard:
        return _version(image) is None or _at_least(image, since)
    return _repository(image) == _repository(standard) and _at_least(image, since)


def runs_own_balancer(launch: Mapping[str, Any]) -> bool:
    """Whether a container of whatever image runs `drover balancer`."""
    command = launch.get("command") or ()
    words = command.split() if isinstance(command, str) else [str(word) for word in command]
    return words[:1] == ["balancer"] or words[:2] == ["drover", "balancer"]


def _at_least(image: str, since: str) -> bool:
    version, first = _version(image), _VERSION.search(since)
    return version is not None and first is not None and version >= tuple(int(each) for each in first.groups())


def _repository(image: str) -> str:
    folder, slash, name = image.partition("@")[0].rpartition("/")
    return f"{folder}{slash}{name.partition(':')[0]}"


def _version(image: str) -> tuple[int, ...] | None:
    found = _VERSION.fullmatch(image.rpartition("/")[2].partition(":")[2])
    return tuple(int(each) for each in found.groups()) if found else None


async def link_balancer_targets(draft: Draft) -> None:
    """Links follow the targets of the rules, so that graphs, names and the order of starting know them.

    What selectors choose changes with the labels of others; those links are kept by the server's selectors.
    """
    if not draft.changes("lbConfig"):
        return
    wanted = [Link(service_id=each) for each in _targets(draft)]
    linked = await links_of(draft.call.context, draft.record) if draft.record is not None else []
    existing = [link for link in linked if not link[BY_SELECTOR]]
    draft.also(lambda changes, record: plan_links(changes, record, existing, wanted))


def _targets(draft: Draft) -> list[int]:
    rules = (draft.values.get("lbConfig") or {}).get("portRules") or ()
    own = draft.record.id if draft.record is not None else None
    return sorted({int(rule["serviceId"]) for rule in rules if rule.get("serviceId") is not None} - {own})
