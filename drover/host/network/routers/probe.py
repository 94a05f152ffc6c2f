"""Whether a peer's router answers an echo request: the proof that a tunnel carries packets both ways."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct


async def answers_echo(address: str, *, tries: int, timeout: float) -> bool:
    """Ask up to `tries` times, `timeout` seconds each. False also when the request cannot even leave."""
    mark = secrets.token_bytes(2)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP) as echo:
        for number in range(1, tries + 1):
            try:
                echo.connect((address, 0))
                await loop.sock_sendall(echo, _request(mark, number))
                async with asyncio.timeout(timeout):
                    while True:
                        packet = await loop.sock_recv(echo, 2048)
                        if _is_reply(packet, address, mark):
                            return True
            except (OSError, TimeoutError):
                continue
    return False


def _request(mark: bytes, number: int) -> bytes:
    body = b"\x08\x00\x00\x00" + mark + struct.pack("!H", number)
    total = sum(struct.unpack("!4H", body))
    checksum = ~((total >> 16) + (total & 0xFFFF)) & 0xFFFF
    return body[:2] + struct.pack("!H", checksum) + body[4:]


def _is_reply(packet: bytes, address: str, mark: bytes) -> bool:
    header = (packet[0] & 15) * 4
    body = packet[header : header + 8]
    return len(body) == 8 and body[0] == 0 and body[4:6] == mark and packet[12:16] == socket.inet_aton(address)
