"""Balancers of both forms."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drover.compose import Kind, ServiceRef, SettingRef, plan_services
from drover.compose.lb_labels import Listener, parse_listener, parse_ports, parse_targets
from drover.compose.references import CertificateRef

DATA = json.loads((Path(__file__).parent / "data" / "legacy-balancers.json").read_text())
TARGET = "io.rancher.loadbalancer.target."


@pytest.mark.parametrize("case", DATA["labels"], ids=lambda case: case["label"])
def test_target_labels(case: dict[str, Any]) -> None:
    if case["targets"] is None:
        with pytest.raises(ValueError, match="'"):
            parse_targets(case["label"])
        return
    found = [[t.hostname, t.source_port, t.path, t.target_port] for t in parse_targets(case["label"])]
    assert found == case["targets"]


@pytest.mark.parametrize("case", DATA["conversions"], ids=lambda case: case["note"])
def test_conversion_of_older_balancers(case: dict[str, Any], load: Callable) -> None:
    labels = {f"{TARGET}{service}": label for service, label in case["target_labels"].items()}
    if case["ssl_ports"]:
        labels["io.rancher.loadbalancer.ssl.ports"] = ",".join(map(str, case["ssl_ports"]))
    service = {"image": "rancher/load-balancer-service", **{k: case[k] for k in ("ports", "links")}, "labels": labels}
    others = {link.split(":")[0]: {"image": "x"} for link in case["links"]}
    body = plan_services(load(json.dumps({"lb": service, **others})))[0].body
    rules = [
        {
            "source_port": rule["sourcePort"],
            "target_port": rule["targetPort"],
            "service": rule["serviceId"].name,
            "protocol": rule["protocol"],
            "hostname": rule.get("hostname", ""),
            "path": rule.get("path", ""),
        }
        for rule in body["lbConfig"]["portRules"]
    ]
    by_place = lambda rule: (rule["source_port"], rule["service"], rule["hostname"])  # noqa: E731
    assert sorted(rules, key=by_place) == sorted(case["port_rules"], key=by_place)
    assert body["launchConfig"]["ports"] == case["launch_ports"]


def test_everything_else_of_an_older_balancer(load: Callable) -> None:
    project = load(
        """
lb:
  image: rancher/load-balancer-service
  ports: ['1.2.3.4:81:80/tcp']
  expose: ['90:9000']
  external_links: ['other/web:w']
  labels:
    io.rancher.service.selector.link: tier=web
    io.rancher.loadbalancer.target.other/web: a.test
    io.rancher.loadbalancer.proxy-protocol.ports: '81'
    kept: 'yes'
""",
        """
lb:
  scale: 2
  certs: [a, b]
  default_cert: c
  load_balancer_config:
    haproxy_config:
      global: |
        maxconn 4096
      defaults: |
        mode tcp
        timeout client 1h
    lb_cookie_stickiness_policy: {cookie: c, indirect: true, mode: insert}
    app_cookie_stickiness_policy: {cookie: x}
""",
    )
    plan = plan_services(project)[0]
    config, launch = plan.body["lbConfig"], plan.body["launchConfig"]
    web = ServiceRef("web", "other")
    assert plan.kind is Kind.BALANCER
    assert plan.links is None
    assert "selectorLink" not in plan.body
    assert config["portRules"] == [
        {"sourcePort": 81, "targetPort": 80, "protocol": "tcp", "serviceId": web, "hostname": "a.test"},
        {"sourcePort": 81, "targetPort": 80, "protocol": "tcp", "selector": "tier=web"},
        {"sourcePort": 90, "targetPort": 9000, "protocol": "http", "serviceId": web, "hostname": "a.test"},
        {"sourcePort": 90, "targetPort": 9000, "protocol": "http", "selector": "tier=web"},
    ]
    assert config["certificateIds"] == [CertificateRef("a"), CertificateRef("b")]
    assert config["defaultCertificateId"] == CertificateRef("c")
    assert config["stickinessPolicy"] == {"cookie": "c", "indirect": True, "mode": "insert"}
    assert config["config"] == (
        "global\n    maxconn 4096\ndefaults\n    mode tcp\n    timeout client 1h\nfrontend 81\n    accept-proxy\n"
    )
    assert launch["imageUuid"] == SettingRef("lb.instance.image", "docker:")
    assert launch["ports"] == ["81/tcp"]
    assert "expose" not in launch
    assert launch["labels"]["kept"] == "yes"
    assert not [label for label in launch["labels"] if "loadbalancer" in label or "selector" in label]


def test_lb_config_of_version_2(body_of: Callable) -> None:
    body = body_of(
        """
version: '2'
services:
  lb:
    image: rancher/lb-service-haproxy:v1
    ports: ['80:80']
    lb_config:
      certs: [a]
      default_cert: b
      config: text
      stickiness_policy: {name: n, cookie: c}
      port_rules:
        - {source_port: 80, protocol: http, path: /a, hostname: h, service: web, target_port: 8080, priority: 1}
        - {source_port: '81', service: other/web, backend_name: b, weight: 5}
        - {source_port: 82, selector: a=b, region: r, environment: e}
        - {source_port: 83, service: shop/web}
  web: {image: x}
"""
    )
    assert body["lbConfig"] == {
        "certificateIds": [CertificateRef("a")],
        "defaultCertificateId": CertificateRef("b"),
        "config": "text",
        "stickinessPolicy": {"name": "n", "cookie": "c"},
        "portRules": [
            {
                "sourcePort": 80,
                "protocol": "http",
                "path": "/a",
                "hostname": "h",
                "serviceId": ServiceRef("web"),
                "targetPort": 8080,
                "priority": 1,
            },
            {"sourcePort": 81, "serviceId": ServiceRef("web", "other"), "backendName": "b", "weight": 5},
            {"sourcePort": 82, "selector": "a=b", "region": "r", "environment": "e"},
            {"sourcePort": 83, "serviceId": ServiceRef("web")},
        ],
    }


def test_target_rules_of_a_plain_service(load: Callable) -> None:
    project = load(
        "web: {image: a}\n",
        "web: {lb_config: {port_rules: [{hostname: h, path: /p, target_port: 80, backend_name: b, priority: 3}]}}\n",
    )
    plan = plan_services(project)[0]
    assert plan.kind is Kind.SERVICE
    assert plan.body["lbConfig"] == {
        "portRules": [{"hostname": "h", "path": "/p", "targetPort": 80, "backendName": "b"}]
    }


@pytest.mark.parametrize(
    ("entry", "listener"),
    [
        ("80", Listener(80, 80)),
        ("80:81", Listener(80, 81)),
        ("80:81/TCP", Listener(80, 81, "tcp")),
        ("1.2.3.4:80:81", Listener(80, 81)),
        ("443/https", Listener(443, 443, "https")),
    ],
)
def test_listeners(entry: str, listener: Listener) -> None:
    assert parse_listener(entry) == listener


@pytest.mark.parametrize("entry", ["", "a", "80-90", "80:", "80/"])
def test_what_is_no_listener(entry: str) -> None:
    with pytest.raises(ValueError, match="is not a single port"):
        parse_listener(entry)


def test_port_lists() -> None:
    assert parse_ports(" 80, 443 ,") == (80, 443)
    with pytest.raises(ValueError, match="'0' in '0' is not a port"):
        parse_ports("0")
