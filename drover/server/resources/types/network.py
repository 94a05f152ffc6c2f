"""Networks, addresses and published ports."""

from __future__ import annotations

from drover.server.resources.access import by_everyone, by_nobody, by_workers
from drover.server.resources.declare import choice, flag, kind, number, ref, resource, standard, text, typed, words
from drover.server.resources.model import Action

NETWORK = resource(
    "network",
    columns=standard()
    | {
        "domain": text(max_length=128),
        "isPublic": flag(),
        "networkDriverId": ref("networkDriver", "rc", nullable=False, required=True),
    },
    fields={
        "defaultPolicyAction": choice("allow deny", "rcu", default="allow", schedule_update=True),
        "dns": typed("array[string]", "rc"),
        "dnsSearch": typed("array[string]", "rc"),
        "hostPorts": flag("rc"),
        "macPrefix": text(),
        "metadata": typed("map[json]", "rcu"),
        "policy": typed("array[networkPolicyRule]", "rcu", nullable=True, schedule_update=True),
        "presharedKey": typed("map[json]", internal=True),
        "subnets": typed("array[subnet]", "rc"),
    },
    actions={"exchangekey": Action(output="network", only_states=words("active"))},
    access=by_workers("LCRUD"),
)

DEFAULT_NETWORK = kind(
    "defaultNetwork",
    NETWORK,
    letters={"rc": words("kind"), "": words("networkDriverId")},
    access=by_workers("R", "R"),
)

HOST_ONLY_NETWORK = kind(
    "hostOnlyNetwork",
    NETWORK,
    access=by_nobody(),
)

SUBNET = resource(
    "subnet",
    columns=standard()
    | {
        "cidrSize": number("rc", required=True, default=24, min=8, max=28),
        "endAddress": text("rc"),
        "gateway": text("rc"),
        "isPublic": flag(),
        "networkAddress": text("rc", required=True),
        "networkId": ref("network", "r", required=True),
        "startAddress": text("rc"),
    },
    access=by_workers("LR"),
)

IP_ADDRESS = resource(
    "ipAddress",
    columns=standard()
    | {
        "address": text("r"),
        "hostId": ref("host", internal=True),
        "hostname": text(),
        "instanceId": ref("instance", internal=True),
        "isPublic": flag(),
        "networkId": ref("network", "r"),
        "role": text(max_length=128),
        "subnetId": ref("subnet"),
    },
    access=by_workers("LR"),
)

IP_ADDRESS_NIC_MAP = resource(
    "ipAddressNicMap",
    columns=standard("accountId")
    | {
        "ipAddressId": ref("ipAddress"),
        "nicId": ref("nic"),
    },
    stored=False,
)

NIC = resource(
    "nic",
    columns=standard()
    | {
        "deviceNumber": number(),
        "instanceId": ref("instance"),
        "macAddress": text(max_length=128),
        "networkId": ref("network"),
    },
    stored=False,
)

PORT = resource(
    "port",
    columns=standard()
    | {
        "instanceId": ref("instance", "r"),
        "privateIpAddressId": ref("ipAddress", "r"),
        "privatePort": number("r"),
        "protocol": text("r", max_length=128),
        "publicIpAddressId": ref("ipAddress", "r"),
        "publicPort": number("ru", schedule_update=True),
    },
    fields={
        "bindAddress": text("r"),
    },
    nullable=True,
    access=by_workers("LRU"),
)

NETWORK_DRIVER = resource(
    "networkDriver",
    columns=standard()
    | {
        "serviceId": ref("service", "r"),
    },
    fields={
        "cniConfig": typed("map[json]", "rc"),
        "defaultNetwork": typed("defaultNetwork", "rc"),
        "networkMetadata": typed("map[json]", "rc"),
    },
    access=by_workers("LR"),
)

NETWORK_POLICY_RULE = resource(
    "networkPolicyRule",
    fields={
        "action": choice("allow deny", "rc"),
        "between": typed("networkPolicyRuleBetween", "rc"),
        "from": typed("networkPolicyRuleMember", "rc"),
        "ports": typed("array[string]", "rc"),
        "to": typed("networkPolicyRuleMember", "rc"),
        "within": choice("stack service linked", "rc"),
    },
    access=by_everyone("CR", "R"),
)

NETWORK_POLICY_RULE_ACTION = resource(
    "networkPolicyRuleAction",
)

NETWORK_POLICY_RULE_BETWEEN = resource(
    "networkPolicyRuleBetween",
    fields={
        "groupBy": text("rc"),
        "selector": text("rc"),
    },
    access=by_everyone("CR", "R"),
)

NETWORK_POLICY_RULE_MEMBER = resource(
    "networkPolicyRuleMember",
    fields={
        "selector": text("rc"),
    },
    access=by_everyone("CR", "R"),
)

NETWORK_POLICY_RULE_WITHIN = resource(
    "networkPolicyRuleWithin",
    access=by_everyone("LCR"),
)

TYPES = (
    NETWORK,
    DEFAULT_NETWORK,
    HOST_ONLY_NETWORK,
    SUBNET,
    IP_ADDRESS,
    IP_ADDRESS_NIC_MAP,
    NIC,
    PORT,
    NETWORK_DRIVER,
    NETWORK_POLICY_RULE,
    NETWORK_POLICY_RULE_ACTION,
    NETWORK_POLICY_RULE_BETWEEN,
    NETWORK_POLICY_RULE_MEMBER,
    NETWORK_POLICY_RULE_WITHIN,
)
