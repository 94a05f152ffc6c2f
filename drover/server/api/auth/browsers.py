"""Requests of browsers: they carry cookies on their own, so they must show that our page made them.

A browser gets a random ``CSRF`` cookie and has to repeat it in a header with everything but a GET; another site's
page can make the browser send the cookie, but cannot read it. Other clients hold credentials of their own and are
exempt (Rancher 1.6).
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping

from starlette.requests import HTTPConnection
from starlette.responses import Response

from drover.server.api.errors import ApiError
from drover.server.orchestration.settings import Settings

_VALUE = re.compile(r"[0-9A-F]{10}\Z")
_COOKIE_TEXT = re.compile(r"[A-Za-z0-9._-]+\Z")


def is_browser(connection: HTTPConnection) -> bool:
    return "mozilla" in connection.headers.get("user-agent", "").lower()


def csrf_token(connection: HTTPConnection) -> str:
    """The token that this browser is to repeat: the one it has, else the one that its answer will set."""
    present = connection.cookies.get("CSRF", "")
    if not _VALUE.match(present):
        present = connection.scope.setdefault("state", {}).setdefault("csrf", secrets.token_hex(5).upper())
    return present


def require_own_page(
    connection: HTTPConnection, method: str, query: Mapping[str, tuple[str, ...]], in_form: str = ""
) -> None:
    """Raises 403 ``InvalidCSRFToken`` for a browser's write that does not repeat its cookie.

    It is repeated in a header, in the query, or in a form (``in_form``).
    """
    if method == "GET" or not is_browser(connection):
        return
    cookie = connection.cookies.get("CSRF", "")
    shown = connection.headers.get("x-api-csrf") or query.get("CSRF", ("",))[0] or in_form
    if not _VALUE.match(cookie) or not hmac.compare_digest(cookie.encode(), shown.encode()):
        raise ApiError(403, "InvalidCSRFToken", "CSRF header and cookie do not match")


def set_cookies(connection: HTTPConnection, response: Response, settings: Settings, *, secure: bool) -> None:
    """The cookies of a browser: the token to repeat, and what the page should look like.

    ``secure``: the browser speaks HTTPS, be it to a proxy in front of us.
    """
    if not is_browser(connection):
        return
    value = csrf_token(connection)
    same_site = "SameSite=Lax" + ("; Secure" if secure else "")
    response.headers.append("Set-Cookie", f"CSRF={value}; Path=/; {same_site}")
    for cookie, setting in (("PL", "ui.pl"), ("LANG", "localization")):
        text = settings.get(setting)
        if _COOKIE_TEXT.match(text):
            response.headers.append("Set-Cookie", f"{cookie}={text}; Path=/; {same_site}")
