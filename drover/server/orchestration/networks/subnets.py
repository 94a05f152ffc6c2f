"""The address range of a network: what a request leaves out is derived from the rest, as in Rancher 1.6."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

DEFAULT_NETWORK = "10.44.0.0/16"
DEFAULT_BITS = 24
FEWEST_BITS, MOST_BITS = 8, 28
_FIRST_OFFSET = 2  # the gateway has the address before
_LAST_OFFSET = 6  # counted back from the end of the range


class BadSubnet(ValueError):
    """The range makes no sense; the text is for the user, ``field`` says what to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def subnet_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """``networkAddress``, ``cidrSize``, ``gateway``, ``startAddress`` and ``endAddress`` of a subnet row.

    ``networkAddress`` may carry the prefix length (``10.42.0.0/16``). Raises BadSubnet.
    """
    text = str(given.get("networkAddress") or "").strip() or DEFAULT_NETWORK
    address, slash, length = text.partition("/")
    bits = _bits(length if slash else given.get("cidrSize"))
    try:
        network = ipaddress.IPv4Network(f"{address}/{bits}", strict=False)
    except ValueError as error:
        raise BadSubnet("networkAddress", f"{text} is no IPv4 network; write it like 10.42.0.0/16") from error
    base = int(network.network_address)
    window = {
        "gateway": _within(network, given, "gateway", base + 1),
        "startAddress": _within(network, given, "startAddress", base + _FIRST_OFFSET),
        "endAddress": _within(network, given, "endAddress", base + network.num_addresses - _LAST_OFFSET),
    }
    if ipaddress.IPv4Address(window["startAddress"]) > ipaddress.IPv4Address(window["endAddress"]):
        raise BadSubnet(
            "endAddress", f"The range ends ({window['endAddress']}) before it begins ({window['startAddress']})"
        )
    return {"networkAddress": str(network.network_address), "cidrSize": bits, **window}


def _bits(given: Any) -> int:
    try:
        bits = int(given)
    except (TypeError, ValueError):
        return DEFAULT_BITS
    if not FEWEST_BITS <= bits <= MOST_BITS:
        raise BadSubnet("cidrSize", f"A subnet has between {FEWEST_BITS} and {MOST_BITS} network bits, not {bits}")
    return bits


def _within(network: ipaddress.IPv4Network, given: Mapping[str, Any], field: str, default: int) -> str:
    text = str(given.get(field) or "").strip()
    if not text:
        return str(ipaddress.IPv4Address(default))
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise BadSubnet(field, f"{text} is no IPv4 address") from error
    if address not in network:
        raise BadSubnet(field, f"{text} is not in {network}; choose an address inside of it")
    return str(address)
