"""Balancers of v1: ports, links with target specifications and `loadBalancerConfig` instead of `lbConfig`.

They are kept as current balancers from the start, so that nothing else has to know of them: `lbConfig` is written when
the balancer is created, and again whenever its links change. What it is made from stays beside it, in fields that no
schema shows. Source: Rancher 1.6, which converted them when an environment was upgraded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drover.compose.lb_labels import PROXY_PROTOCOL_LABEL, SSL_PORTS_LABEL, Listener, parse_listener, parse_ports
from drover.compose.lb_rules import LinkedService, LinkRule, custom_config, link_rules
from drover.server.api.draft import Draft
from drover.server.api.errors import invalid
from drover.server.store import Changes, Record

LISTENERS = "legacyListeners"
LINKS = "legacyLinks"

_OLD_IMAGES = frozenset({"docker:rancher/load-balancer-service", "rancher/load-balancer-service"})
_SOURCES = ("certificateIds", "defaultCertificateId", "loadBalancerConfig")


def is_legacy(record: Record | None) -> bool:
    return record is not None and bool(record[LISTENERS])


def complete_legacy_balancer(draft: Draft) -> None:
    """Give a balancer that came without `lbConfig` one, and keep it current when its v1 fields change."""
    if draft.creating and not draft.values.get("lbConfig") and _ports(draft.values.get("launchConfig")):
        launch = draft.values["launchConfig"]
        draft.values[LISTENERS] = [_stored(listener) for listener in _listeners(_ports(launch))]
        _modernize(launch)
        draft.values["lbConfig"] = {"portRules": [], **_settings(draft)}
    elif is_legacy(draft.record) and any(draft.changes(name) for name in _SOURCES):
        draft.values["lbConfig"] = {**(draft.get("lbConfig") or {}), **_settings(draft)}


def plan_legacy_links(changes: Changes, record: Record, ports: Mapping[int, Sequence[str]]) -> None:
    """Write the rules that links to these services, with their specifications, come to. Raises ApiError."""
    labels = (record["launchConfig"] or {}).get("labels") or {}
    listeners = [Listener(int(source), int(target), str(protocol)) for source, target, protocol in record[LISTENERS]]
    links = [LinkedService(service_id, tuple(texts)) for service_id, texts in ports.items()]
    try:
        rules = link_rules(listeners, links, parse_ports(str(labels.get(SSL_PORTS_LABEL) or "")))
    except ValueError as error:
        raise invalid("InvalidPort", "ports", str(error)) from error
    config = {**(record["lbConfig"] or {}), "portRules": [_port_rule(rule) for rule in rules]}
    changes.update(record, {"lbConfig": config, LINKS: {str(key): list(texts) for key, texts in ports.items()}})


def legacy_links(record: Record) -> dict[int, list[str]]:
    """The specifications of each linked service."""
    return {int(key): list(texts) for key, texts in (record[LINKS] or {}).items()}


def _ports(launch: Mapping[str, Any] | None) -> list[str]:
    return [str(port) for name in ("ports", "expose") for port in (launch or {}).get(name) or ()]


def _listeners(ports: Sequence[str]) -> list[Listener]:
    try:
        return [parse_listener(port) for port in ports]
    except ValueError as error:
        raise invalid("InvalidPort", "ports", str(error)) from error


def _stored(listener: Listener) -> list[Any]:
    return [listener.source_port, listener.target_port, listener.protocol]


def _modernize(launch: dict[str, Any]) -> None:
    """The container listens on the published ports itself, in the current image."""
    published = _listeners([str(port) for port in launch.get("ports") or ()])
    launch["ports"] = [f"{each.source_port}:{each.source_port}/tcp" for each in published]
    launch.pop("expose", None)
    if launch.get("imageUuid") in _OLD_IMAGES:
        del launch["imageUuid"]


def _settings(draft: Draft) -> dict[str, Any]:
    """Certificates, stickiness and extra text as `lbConfig` has them."""
    legacy = draft.get("loadBalancerConfig") or {}
    sections = legacy.get("haproxyConfig") or {}
    labels = (draft.get("launchConfig") or {}).get("labels") or {}
    try:
        proxy_ports = parse_ports(str(labels.get(PROXY_PROTOCOL_LABEL) or ""))
    except ValueError as error:
        raise invalid("InvalidPort", "labels", str(error)) from error
    config = custom_config(
        global_text=str(sections.get("global") or ""),
        defaults_text=str(sections.get("defaults") or ""),
        proxy_ports=proxy_ports,
    )
    return {
        "certificateIds": draft.get("certificateIds"),
        "defaultCertificateId": draft.get("defaultCertificateId"),
        "stickinessPolicy": legacy.get("lbCookieStickinessPolicy"),
        "config": config or None,
    }


def _port_rule(rule: LinkRule) -> dict[str, Any]:
    fields = {
        "sourcePort": rule.source_port,
        "protocol": rule.protocol,
        "hostname": rule.hostname,
        "path": rule.path,
        "serviceId": rule.service_id,
        "targetPort": rule.target_port,
    }
    return {name: value for name, value in fields.items() if value}
