"""What the generated HAProxy configuration says unless the owner's text says otherwise (as in Rancher 1.6).

Each line is (key, value): a written line that begins with the key replaces it.
"""

from __future__ import annotations

Line = tuple[str, str]

_CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES128-SHA256",
        "ECDHE-RSA-AES128-SHA256",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES256-SHA384",
        "ECDHE-RSA-AES256-SHA384",
        "ECDHE-RSA-AES256-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "AES128-GCM-SHA256",
        "AES128-SHA256",
        "AES128-SHA",
        "AES256-GCM-SHA384",
        "AES256-SHA256",
        "AES256-SHA",
    )
)

GLOBAL: tuple[Line, ...] = (
    ("maxconn", "4096"),
    ("maxpipes", "1024"),
    ("ssl-default-bind-ciphers", _CIPHERS),
    ("ssl-default-server-ciphers", _CIPHERS),
    ("ssl-default-bind-options", "no-sslv3 no-tlsv10 no-tls-tickets"),
    ("chroot", "/var/lib/haproxy"),
    ("user haproxy", ""),
    ("group haproxy", ""),
    ("daemon", ""),
    ("stats timeout", "2m"),
    # Long-lived connections (WebSockets) would keep the processes of former configurations for ever.
    ("hard-stop-after", "5m"),
)

_ERRORS = ("400", "403", "408", "500", "502", "503", "504")

DEFAULTS: tuple[Line, ...] = (
    ("mode", "tcp"),
    ("option redispatch", "1"),
    ("option http-server-close", ""),
    ("option forwardfor", ""),
    ("maxconn", "4096"),
    ("retries", "3"),
    ("timeout connect", "5000"),
    ("timeout client", "50000"),
    ("timeout server", "50000"),
    *((f"errorfile {code}", f"/etc/haproxy/errors/{code}.http") for code in _ERRORS),
)

HTTP_BACKEND: tuple[Line, ...] = (
    ("http-request add-header X-Forwarded-Proto", "https if { ssl_fc } forwarded_proto"),
    ("http-request add-header X-Forwarded-Port", "%[dst_port] if forwarded_port"),
    # A server that stops between two looks at the world must cost nobody a request. Requests that change something
    # are repeated only when they never reached a server.
    ("retry-on", "conn-failure empty-response"),
    ("http-request disable-l7-retry", "unless { method GET HEAD OPTIONS }"),
)

HTTP_BACKEND_ACLS = (
    "acl forwarded_proto hdr_cnt(X-Forwarded-Proto) eq 0",
    "acl forwarded_port hdr_cnt(X-Forwarded-Port) eq 0",
)

RESOLVERS = "rancher"
NAMESERVER = "169.254.169.250:53"
