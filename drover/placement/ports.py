"""Port specifications as users write them: ``[ip:][public[-range]:]private[-range][/tcp|udp]``.

Strict, for judging what somebody wants to store; :func:`drover.placement.parse_ports` reads what was accepted.
Grammar and error codes: Rancher 1.6.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_SPEC = re.compile(
    r"(?:(?P<address>\[[0-9A-Fa-f:.%]+\]|[0-9.]+):)?(?:(?P<public>[^:/]*):)?(?P<private>[^:/]+)(?:/(?P<protocol>.*))?\Z"
)
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?\Z")
_HIGHEST = 65535
PROTOCOLS = ("tcp", "udp")


class PortError(ValueError):
    """A specification that cannot be used. ``code`` is what the API answers."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class PortSpec:
    """One specification. Ranges are inclusive; ``public`` is None where none was given."""

    address: str | None
    public: tuple[int, int] | None
    private: tuple[int, int]
    protocol: str


def parse_port(text: str) -> PortSpec:
    """Raises PortError with PortWrongFormat, PortInvalidPublicPort, PortInvalidPrivatePort or PortInvalidProtocol."""
    match = _SPEC.match(text.strip())
    if match is None:
        raise PortError("PortWrongFormat", f"{text!r} is no port; write public:private/protocol, such as 8080:80/tcp")
    protocol = (match["protocol"] if match["protocol"] is not None else "tcp").lower()
    if protocol not in PROTOCOLS:
        raise PortError("PortInvalidProtocol", f"{text!r}: the protocol must be tcp or udp")
    address, public_text = match["address"], match["public"]
    if address is not None and public_text is None and address.isdigit():
        address, public_text = None, address  # ``8080:80`` has a number, not an address, before the colon
    private = _range(match["private"], "PortInvalidPrivatePort", text, "private")
    public = _range(public_text, "PortInvalidPublicPort", text, "public") if public_text else None
    if public is not None and public[1] - public[0] != private[1] - private[0]:
        raise PortError("PortWrongFormat", f"{text!r}: the public and the private range must have the same length")
    return PortSpec(_address(address, text), public, private, protocol)


def _range(part: str, code: str, text: str, which: str) -> tuple[int, int]:
    match = _RANGE.match(part.strip())
    first = int(match[1]) if match else 0
    last = int(match[2] or match[1]) if match else 0
    if not 1 <= first <= last <= _HIGHEST:
        raise PortError(code, f"{text!r}: the {which} port must be a number from 1 to {_HIGHEST}, or a range of them")
    return first, last


def _address(address: str | None, text: str) -> str | None:
    if address is None:
        return None
    try:
        return str(ipaddress.ip_address(address.strip("[]")))
    except ValueError:
        raise PortError("PortWrongFormat", f"{text!r}: {address} is no IP address") from None
