"""Ask a name server for a name until it answers with an address; runs in the network namespace of a host.

`python -m bench.name_watch ADDRESS`, then one name a line on standard input; each is answered by a line with the name
and the time (seconds since the epoch) of the first answer, or `never`.
"""

from __future__ import annotations

import socket
import sys
import time

import dns.flags
import dns.message
import dns.rdatatype

_EVERY_SECONDS = 0.003
_GIVE_UP_SECONDS = 20.0
_PORT = 53


def main() -> None:
    server = sys.argv[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        client.connect((server, _PORT))
        for line in sys.stdin:
            name = line.strip()
            seen = _first_answer(client, name)
            print(name, "never" if seen is None else f"{seen:.6f}", flush=True)


def _first_answer(client: socket.socket, name: str) -> float | None:
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        query = dns.message.make_query(name, dns.rdatatype.A)
        try:
            client.send(query.to_wire())
            reply = dns.message.from_wire(client.recv(4096))
        except OSError:  # nobody listens yet, or the reply was lost
            time.sleep(_EVERY_SECONDS)
            continue
        if reply.id == query.id and reply.answer:
            return time.time()
        time.sleep(_EVERY_SECONDS)
    return None


if __name__ == "__main__":
    main()
