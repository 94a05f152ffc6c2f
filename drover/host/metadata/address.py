"""The metadata address on our own interface, so that packets to it end here.

Done with `ip`, once at start: the netlink library would take 12 MB for as long as the program runs.
"""

from __future__ import annotations

import asyncio
import ipaddress

from drover.common.errors import DroverError

_SECONDS = 10.0


class AddressError(DroverError):
    """The address cannot be put on the interface."""


async def add_address(address: str, interface: str) -> None:
    """Put `address`/32 on `interface`; fine when it is there already. Raises AddressError."""
    try:
        wanted = ipaddress.ip_interface(address)
    except ValueError as error:
        raise AddressError(f"{address!r} is no address: set RANCHER_METADATA_ADDRESS to one") from error
    try:
        process = await asyncio.create_subprocess_exec(
            "ip", "address", "replace", wanted.with_prefixlen, "dev", interface, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise AddressError("the program `ip` is missing: install iproute2, or add the address yourself") from error
    try:
        async with asyncio.timeout(_SECONDS):
            _, complaint = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AddressError(f"`ip address replace` did not end within {_SECONDS:.0f} s") from None
    if process.returncode != 0:
        raise AddressError(
            f"cannot put {wanted} on {interface}: {complaint.decode(errors='replace').strip()}. "
            "The container needs the capability NET_ADMIN and this interface"
        )
