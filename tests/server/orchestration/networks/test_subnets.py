"""What a network's range becomes when a request leaves parts of it out. The values are those of Rancher 1.6."""

from __future__ import annotations

from typing import Any

import pytest

from drover.server.orchestration.networks.subnets import BadSubnet, subnet_values


@pytest.mark.parametrize(
    ("given", "network", "bits", "gateway", "start", "end"),
    [
        ("10.42.0.0/16", "10.42.0.0", 16, "10.42.0.1", "10.42.0.2", "10.42.255.250"),
        ("10.44.0.0/16", "10.44.0.0", 16, "10.44.0.1", "10.44.0.2", "10.44.255.250"),
        ("192.168.10.0/24", "192.168.10.0", 24, "192.168.10.1", "192.168.10.2", "192.168.10.250"),
        ("172.22.101.0/25", "172.22.101.0", 25, "172.22.101.1", "172.22.101.2", "172.22.101.122"),
        (None, "10.44.0.0", 16, "10.44.0.1", "10.44.0.2", "10.44.255.250"),
        ("10.5.6.0", "10.5.6.0", 24, "10.5.6.1", "10.5.6.2", "10.5.6.250"),
        ("10.5.6.0/x", "10.5.6.0", 24, "10.5.6.1", "10.5.6.2", "10.5.6.250"),
    ],
)
def test_defaults(given: str | None, network: str, bits: int, gateway: str, start: str, end: str) -> None:
    assert subnet_values({"networkAddress": given}) == {
        "networkAddress": network,
        "cidrSize": bits,
        "gateway": gateway,
        "startAddress": start,
        "endAddress": end,
    }


def test_what_is_given_stays() -> None:
    window = {"gateway": "10.1.0.254", "startAddress": "10.1.0.10", "endAddress": "10.1.0.20"}
    found = subnet_values({"networkAddress": "10.1.0.0", "cidrSize": 22, **window})
    assert found == {"networkAddress": "10.1.0.0", "cidrSize": 22, **window}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"networkAddress": "10.300.0.0/16"}, "networkAddress"),
        ({"networkAddress": "fd00::/20"}, "networkAddress"),
        ({"networkAddress": "10.0.0.0/29"}, "cidrSize"),
        ({"networkAddress": "10.0.0.0/16", "gateway": "10.1.0.1"}, "gateway"),
        ({"networkAddress": "10.0.0.0/16", "startAddress": "first"}, "startAddress"),
        ({"networkAddress": "10.0.0.0/16", "startAddress": "10.0.9.0", "endAddress": "10.0.8.0"}, "endAddress"),
    ],
)
def test_nonsense_is_refused(given: dict[str, Any], field: str) -> None:
    with pytest.raises(BadSubnet) as refused:
        subnet_values(given)
    assert refused.value.field == field
