"""Where the declarations differ from the facts on purpose, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowed:
    key: str  # a property, or the beginning of several followed by ``*``
    reason: str
    types: str = "*"
    role: str = "*"
    version: str = "*"


# Only the superadmin saw these links of v1, and the types they lead to are gone.
GONE = (
    "agentgroup agentgroups childipassociations hostvnetmaps ipassociations ippool ippools offering offerings"
    " networkserviceproviderinstancemaps networkserviceproviders networkservices subnetvnetmaps vnet vnets"
)

DIFFERENCES: tuple[Allowed, ...] = (
    *(
        Allowed(f"links.{name}", "leads to a type that is not declared", role="superadmin", version="v1")
        for name in GONE.split()
    ),
    Allowed("actions.exchangekey", "the original changes a network's pre-shared key by hand on every host"),
)

# Types that Rancher 1.6 does not have, by version.
ADDED: dict[str, frozenset[str]] = {"v2-beta": frozenset(), "v1": frozenset()}

# Types that are not declared: v1 listed them for the superadmin long after their services were gone.
ABSENT: dict[str, frozenset[str]] = {
    "v2-beta": frozenset(),
    "v1": frozenset(
        {
            "agentGroup",
            "agentInstanceProvider",
            "dhcpService",
            "gatewayService",
            "hostNatGatewayService",
            "hostVnetMap",
            "ipAssociation",
            "ipPool",
            "ipsecTunnelService",
            "linkService",
            "metadataService",
            "networkService",
            "networkServiceProvider",
            "networkServiceProviderInstanceMap",
            "offering",
            "portService",
            "subnetIpPool",
            "subnetVnetMap",
            "vnet",
        }
    ),
}
