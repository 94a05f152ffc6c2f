"""What can go wrong between a client and the API.

Every failure of the server becomes an `ApiError` with the fields of the wire format (Rancher 1.6 error resource:
status, code, fieldName, message, detail). The subclasses are those that callers tell apart: a script treats "not
found" differently from "not allowed".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drover.client.resource import Resource
from drover.common.errors import DroverError


class ClientError(DroverError):
    """The request could not be carried out."""


class ConnectionFailed(ClientError):
    """No answer from the server: unreachable, timed out, or not speaking HTTP."""


class ApiError(ClientError):
    """The server refused the request.

    `status` is the HTTP status, `code` the machine-readable reason (for example `MissingRequired`), `field_name`
    the field at fault if there is one; `message` and `detail` are texts for people and may be None.
    """

    def __init__(
        self,
        status: int,
        code: str,
        field_name: str | None = None,
        message: str | None = None,
        detail: str | None = None,
        *,
        request: str = "",
    ) -> None:
        super().__init__(status, code, field_name, message, detail)
        self.status = status
        self.code = code
        self.field_name = field_name
        self.message = message
        self.detail = detail
        self.request = request

    def __str__(self) -> str:
        text = self.message or self.code
        if self.code not in (text, "") and self.code.lower() not in text.lower():
            text = f"{text} ({self.code})"
        if self.field_name and not text.startswith(self.field_name):
            text = f"{self.field_name}: {text}"
        if self.detail and self.detail != self.message:
            text = f"{text}: {self.detail}"
        where = f" [{self.request}]" if self.request else ""
        return f"{text} (HTTP {self.status}){where}"


class AuthenticationFailed(ApiError):
    """401: no credentials, or wrong ones."""


class Forbidden(ApiError):
    """403: known, but not allowed."""


class NotFound(ApiError):
    """404: no such resource, or none that the caller may see."""


class MethodNotAllowed(ApiError):
    """405: the state or the role does not permit it."""


class Conflict(ApiError):
    """409: another change is under way; the same request may succeed later."""


class InvalidRequest(ApiError):
    """400 or 422: the body does not fit the schema or the state of the resource."""


class NoMatch(ClientError):
    """A name or id given by the user names nothing."""


class Ambiguous(ClientError):
    """A name given by the user names several things."""


class WaitTimeout(ClientError):
    """The resource did not reach its goal in time; `resource` is how it was seen last."""

    def __init__(self, text: str, resource: Resource) -> None:
        super().__init__(text)
        self.resource = resource


class TransitionFailed(ClientError):
    """The server gave up on what it was doing with the resource."""

    def __init__(self, resource: Resource) -> None:
        reason = resource.transitioning_message or "the server gave no reason"
        super().__init__(f"{resource.label} is in state {resource.state}: {reason}")
        self.resource = resource


_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: InvalidRequest,
    401: AuthenticationFailed,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    409: Conflict,
    422: InvalidRequest,
}


def error_from_body(status: int, reason: str, body: Any, *, request: str = "") -> ApiError:
    """The typed error for an answer with `status`; `body` is the decoded JSON, or None when it was not JSON."""
    fields = body if isinstance(body, dict) else {}
    cls = _BY_STATUS.get(status, ApiError)
    return cls(
        status,
        _text(fields.get("code")) or reason or str(status),
        _text(fields.get("fieldName")),
        _text(fields.get("message")),
        _text(fields.get("detail")),
        request=request,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
