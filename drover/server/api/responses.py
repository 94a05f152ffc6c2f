"""Answers: JSON bodies with the headers that every client of the API relies on."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from drover.server.api.call import Call
from drover.server.api.errors import ApiError
from drover.server.api.ids import format_id
from drover.server.api.urls import Urls

_encode = msgspec.json.Encoder().encode
JSON_TYPE = "application/json; charset=utf-8"


def json_response(body: Any, status: int = 200) -> Response:
    return Response(_encode(body), status, media_type=JSON_TYPE)


def error_response(error: ApiError) -> Response:
    response = json_response(error.body(), error.status)
    response.headers.update(error.headers)
    return response


def add_headers(response: Response, urls: Urls, version: str, client_ip: str, call: Call | None) -> None:
    """Headers of every answer, errors included. ``version`` is the server's."""
    headers = response.headers
    headers["X-API-Schemas"] = urls.schemas
    headers["X-Rancher-Version"] = header_text(version)
    headers["X-API-Client-IP"] = header_text(client_ip)
    headers["Vary"] = "Accept, Cookie, Authorization"
    headers.setdefault("Cache-Control", "no-cache, no-store, max-age=0")
    headers["X-Content-Type-Options"] = "nosniff"
    if call is None:
        return
    caller = call.caller
    headers["X-API-ACCOUNT-ID"] = format_id("1a", caller.policy_account_id) or ""
    headers["X-API-USER-ID"] = format_id("1a", caller.account_id) or ""
    headers["X-API-ACCOUNT-KIND"] = header_text(caller.account_kind)
    headers["X-API-ACCOUNT-NAME"] = header_text(caller.account_name or "")


def header_text(text: str) -> str:
    """Text that can stand in a header: one line of Latin-1."""
    return "".join(char for char in text if char.isprintable()).encode("latin-1", "replace").decode("latin-1")
