"""Balancers: `lb_config`, and the conversion of the older form into it.

The older form (image `rancher/load-balancer-service`) says with ports, links and labels what `lb_config` says with
rules. It is converted rule by rule as Rancher 1.6 did, because very many private files still use it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from drover.compose import lb_labels
from drover.compose.lb_labels import Listener
from drover.compose.lb_rules import custom_config
from drover.compose.model import LbConfig, Service
from drover.compose.references import Body, CertificateRef, SettingRef, service_ref, to_wire

IMAGE_SETTING = "lb.instance.image"
SELECTOR_LINK_LABEL = "io.rancher.service.selector.link"
_REMOVED_LABELS = ("io.rancher.loadbalancer", "io.rancher.service.selector")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule while an older balancer is converted. `link` is the linked service as written."""

    source_port: int
    target_port: int
    protocol: str
    link: str = ""
    selector: str = ""
    hostname: str = ""
    path: str = ""


def lb_config(config: LbConfig, *, stack: str) -> Body:
    """The API form of `lb_config` of a balancer."""
    body: Body = {}
    if config.port_rules:
        rules = []
        for rule in config.port_rules:
            fields = to_wire(rule)
            fields.pop("service", None)
            if rule.service:
                fields["serviceId"] = service_ref(rule.service, stack=stack)
            rules.append({name: value for name, value in fields.items() if value or name == "weight"})
        body["portRules"] = rules
    body.update(_certificates(config.certs, config.default_cert))
    if config.config:
        body["config"] = config.config
    if config.stickiness_policy is not None:
        body["stickinessPolicy"] = to_wire(config.stickiness_policy)
    return body


def target_rules(config: LbConfig) -> Body:
    """The rules by which a plain service offers itself to balancers that select it."""
    rules = [
        {
            "hostname": rule.hostname,
            "path": rule.path,
            "targetPort": rule.target_port,
            "backendName": rule.backend_name,
        }
        for rule in config.port_rules or ()
    ]
    return {"portRules": [{name: value for name, value in rule.items() if value} for rule in rules]}


def legacy_lb_config(service: Service, *, stack: str) -> Body:
    """The API lbConfig of an older balancer."""
    body: Body = {"portRules": [_api_rule(rule, stack) for rule in legacy_rules(service)]}
    body.update(_certificates(service.certs, service.default_cert))
    if text := _config_text(service):
        body["config"] = text
    legacy = service.load_balancer_config
    if legacy is not None and legacy.lb_cookie_stickiness_policy is not None:
        body["stickinessPolicy"] = to_wire(legacy.lb_cookie_stickiness_policy)
    return body


def legacy_launch_config(launch_config: Body) -> Body:
    """The launch config of the container that does the work of an older balancer."""
    labels: Mapping[str, str] = launch_config.get("labels", {})
    result: Body = {**launch_config, "imageUuid": SettingRef(IMAGE_SETTING, "docker:")}
    result.pop("expose", None)
    result.pop("labels", None)
    kept = {name: value for name, value in labels.items() if not name.startswith(_REMOVED_LABELS)}
    if kept:
        result["labels"] = kept
    if "ports" in result:
        listeners = (lb_labels.parse_listener(entry) for entry in launch_config["ports"])
        result["ports"] = [
            f"{one.source_port}/{one.protocol}" if one.protocol else str(one.source_port) for one in listeners
        ]
    return result


def legacy_rules(service: Service) -> list[Rule]:
    """The rules that ports, links and labels of an older balancer amount to."""
    listeners = [lb_labels.parse_listener(entry) for entry in (*(service.ports or ()), *(service.expose or ()))]
    links = [link.split(":")[0] for link in (*(service.links or ()), *(service.external_links or ()))]
    rules = [rule for listener in listeners for rule in _base_rules(listener, links, service)]
    tls_ports = lb_labels.parse_ports(service.label(lb_labels.SSL_PORTS_LABEL) or "")
    expanded = [changed for rule in rules for changed in _apply_targets(rule, service)]
    return [replace(rule, protocol="https") if rule.source_port in tls_ports else rule for rule in expanded]


def _base_rules(listener: Listener, links: list[str], service: Service) -> Iterator[Rule]:
    protocol = listener.protocol or "http"
    for link in links:
        yield Rule(listener.source_port, listener.target_port, protocol, link=link)
    if selector := service.label(SELECTOR_LINK_LABEL):
        yield Rule(listener.source_port, listener.target_port, protocol, selector=selector)


def _apply_targets(rule: Rule, service: Service) -> list[Rule]:
    """The rules that the items of a target label make of one base rule; without a fitting item, the rule itself."""
    label = service.label(f"{lb_labels.TARGET_LABEL}{rule.link}") if rule.link else None
    fitting = [target for target in lb_labels.parse_targets(label or "") if target.source_port in (0, rule.source_port)]
    return [
        replace(rule, hostname=target.hostname, path=target.path, target_port=target.target_port or rule.target_port)
        for target in fitting
    ] or [rule]


def _api_rule(rule: Rule, stack: str) -> Body:
    fields: dict[str, Any] = {
        "sourcePort": rule.source_port,
        "protocol": rule.protocol,
        "path": rule.path,
        "hostname": rule.hostname,
        "serviceId": service_ref(rule.link, stack=stack) if rule.link else None,
        "selector": rule.selector,
        "targetPort": rule.target_port,
    }
    return {name: value for name, value in fields.items() if value}


def _certificates(certs: tuple[str, ...] | None, default_cert: str | None) -> Body:
    body: Body = {}
    if certs:
        body["certificateIds"] = [CertificateRef(name) for name in certs]
    if default_cert:
        body["defaultCertificateId"] = CertificateRef(default_cert)
    return body


def _config_text(service: Service) -> str:
    """Extra haproxy.cfg text from the older keys."""
    legacy = service.load_balancer_config
    sections = legacy.haproxy_config if legacy is not None else None
    return custom_config(
        global_text=(sections.global_ or "") if sections is not None else "",
        defaults_text=(sections.defaults or "") if sections is not None else "",
        proxy_ports=lb_labels.parse_ports(service.label(lb_labels.PROXY_PROTOCOL_LABEL) or ""),
    )
