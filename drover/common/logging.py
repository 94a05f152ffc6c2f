"""One way to log for every program: structured events, one a line, on standard error.

`text` is for people (`key=value` after the event name), `json` for collectors. Modules call
`structlog.get_logger(__name__)` and never configure anything; the program does so once, here. Log records of
libraries that use the standard library's `logging` come out in the same form.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import TextIO

import drover.common.structured  # noqa: F401

# isort: split

import structlog
import structlog.tracebacks
from structlog.typing import EventDict, Processor, WrappedLogger

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

# These libraries tell at INFO what our own events say better, once for every request or frame.
QUIET_LIBRARIES = ("aiohttp.access", "asyncio", "uvicorn.access", "uvicorn.error", "websockets", "alembic")

_SECRET_KEYS = ("password", "secret", "token", "authorization", "jwt", "access_key_secret")


class LogFormat(StrEnum):
    """How an event is written."""

    TEXT = "text"
    JSON = "json"


def configure_logging(
    level: str = "info",
    log_format: LogFormat | str = LogFormat.TEXT,
    *,
    stream: TextIO | None = None,
    program: str | None = None,
) -> None:
    """Route every event of this process to `stream` (standard error by default).

    `program` is added to each event, for collectors that mix several programs in one file.
    Raises ValueError for an unknown level or format.
    """
    threshold = LEVELS.get(level.lower())
    if threshold is None:
        raise ValueError(f"unknown log level {level!r}: use one of {', '.join(LEVELS)}")
    output = stream if stream is not None else sys.stderr
    shared = _shared_processors(program)
    renderer = _renderer(LogFormat(log_format), output)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for library in QUIET_LIBRARIES:
        logging.getLogger(library).setLevel(max(threshold, logging.WARNING))


def redact_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Blank values whose key names a secret, whatever module logged them."""
    for key in event:
        if any(part in key.lower() for part in _SECRET_KEYS):
            event[key] = "***"
    return event


def _shared_processors(program: str | None) -> list[Processor]:
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact_secrets,
    ]
    if program is not None:
        processors.append(_add_program(program))
    return processors


def _add_program(program: str) -> Processor:
    def add(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("program", program)
        return event

    return add


def _renderer(log_format: LogFormat, output: TextIO) -> list[Processor]:
    """Stack traces without the values of local variables: among those are passwords and keys."""
    if log_format is LogFormat.JSON:
        tracebacks = structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        )
        return [tracebacks, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=output.isatty(), exception_formatter=plain)]
