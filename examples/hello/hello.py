"""A web page that says which container answered, and under which addresses it finds its service by name."""

import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SERVICE = "web"


def addresses(name: str) -> str:
    """What the DNS of the environment answers; outside of one nobody knows the name."""
    try:
        return ", ".join(sorted(socket.gethostbyname_ex(name)[2]))
    except OSError as error:
        return f"not known ({error})"


class Page(BaseHTTPRequestHandler):
    """Every path gives the same greeting."""

    def do_GET(self) -> None:
        greeting = f"{os.environ.get('GREETING', 'Hello')} from {socket.gethostname()}"
        page = f"{greeting}\n{SERVICE} is {addresses(SERVICE)}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Quiet: the health check asks every two seconds."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 80), Page).serve_forever()
