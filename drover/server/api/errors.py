"""The one error of the API: a status, a code that programs compare, and sentences for the person who reads it.

Codes and statuses are those of Rancher 1.6; its messages were often empty, ours always say what to do next.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from drover.common.errors import DroverError

REASONS: Mapping[int, str] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method not allowed",
    406: "Not acceptable",
    409: "Conflict",
    411: "Length Required",
    413: "Request Entity Too Long",
    414: "Request URI Too Long",
    415: "Unsupported Media Type",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class ApiError(DroverError):
    """An answer other than the one the client hoped for.

    ``code`` defaults to the reason of the status. ``message`` is one sentence; ``detail`` may hold the offending
    value or a hint.
    """

    def __init__(
        self,
        status: int,
        code: str | None = None,
        message: str | None = None,
        *,
        detail: str | None = None,
        field_name: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.code = code or REASONS.get(status, str(status))
        self.message = message or self.code
        self.detail = detail
        self.field_name = field_name
        self.headers = dict(headers or {})
        self.id = str(uuid.uuid4())
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        """The ``error`` resource."""
        return {
            "id": self.id,
            "type": "error",
            "links": {},
            "actions": {},
            "status": self.status,
            "code": self.code,
            "message": self.message,
            "detail": self.detail,
            "baseType": "error",
            "fieldName": self.field_name,
        }


def invalid(code: str, field_name: str, message: str, *, detail: str | None = None) -> ApiError:
    """A field that cannot be accepted: 422 with the name of the field."""
    return ApiError(422, code, message, detail=detail, field_name=field_name)


def not_found(what: str | None = None) -> ApiError:
    return ApiError(404, None, what or "There is no such resource, or you may not see it")


def forbidden(message: str) -> ApiError:
    return ApiError(403, None, message)


def not_allowed(message: str | None = None) -> ApiError:
    return ApiError(405, None, message)
