"""One client's connection: HTTP/1.1 with keep-alive and pipelining, made for short answers in great number.

A client asks the same thing again and again, with the same bytes. So the bytes of a request are the key of a memory
of finished responses (`Memo`): a hit is one look-up and one write, without parsing. Everything else goes through the
parser, in order, one request at a time: behind a long poll or a slow reader the rest waits, unread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

import httptools
import structlog

from drover.client.world.follow import WORLD_PATH
from drover.host.metadata.accept import negotiate
from drover.host.metadata.answers import Answer, Request, Wait
from drover.host.metadata.render import render_error
from drover.host.metadata.streams import TooManyStreams

if TYPE_CHECKING:
    from drover.host.metadata.listener import Listener

MAX_HEAD = 16 * 1024
MAX_BODY = 64 * 1024
MAX_QUEUED = 64
MEMO_REQUEST = 1024
"""Longest request whose response is remembered."""

log = structlog.get_logger(__name__)


class Parsed:
    """A request as far as the parser is with it."""

    __slots__ = ("body_size", "head_size", "headers", "keep_alive", "method", "old", "url")

    def __init__(self) -> None:
        self.method = ""
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        self.head_size = 0
        self.body_size = 0
        self.keep_alive = True
        self.old = False
        """Whether the client speaks HTTP/1.0 and has to be told that the connection stays."""


class Connection(asyncio.Protocol):
    """The server's end of one connection; also the sink of a stream."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._current: Parsed | None = None
        self._queue: deque[Parsed] = deque()
        self._waiting: tuple[Parsed, Request, Wait] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._paused = False
        self._reading = True
        self._streaming = False
        self._closing = False
        self._memo: dict[bytes, bytes] = {}
        # Requests that began and ended in the bytes just fed, to know when these were exactly one.
        self._begun = 0
        self._ended = 0
        self._direct = True
        self._active = self._loop.time()
        self.client = ""
        self.used = False
        """Whether a remembered response was sent since somebody looked; reading the clock each time would show."""

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio's without being their kin.
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.client = str(peer[0]) if peer else ""
        if not self._listener.admit(self):
            self._transport.abort()
            return
        self._memo = self._listener.memo.of(self.client)

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_waiting()
        self._queue.clear()
        self._transport = None
        self._direct = False
        self._listener.dismiss(self)
        # Parser and connection refer to each other, and the remembered responses may be megabytes: let go of both,
        # because the collector may be long in coming.
        self._parser = None
        self._memo = {}

    def data_received(self, data: bytes) -> None:
        if self._direct:
            response = self._memo.get(data)
            if response is not None:
                self.used = True
                self._transport.write(response)  # type: ignore[union-attr]
                return
        self._take(data)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._paused = True
        self._active = self._loop.time()
        self._settle()

    def resume_writing(self) -> None:
        self._paused = False
        self._active = self._loop.time()
        if self._streaming:
            self._listener.streams.resume(self)
        else:
            self._proceed()

    def end_if_idle(self, before: float) -> None:
        """Cut a connection without a request since `before`, or one that takes nothing of what it asked for."""
        if self.used:
            self.used = False
            self._active = self._loop.time()
            return
        quiet = self._waiting is not None or (self._streaming and not self._paused)
        if not quiet and self._active < before:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # The parser's side

    def on_message_begin(self) -> None:
        self._current = Parsed()
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        parsed = self._current
        assert parsed is not None
        parsed.url += url
        self._measure(parsed, len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        parsed = self._current
        assert parsed is not None
        parsed.headers[name.lower()] = value
        self._measure(parsed, len(name) + len(value))

    def on_body(self, body: bytes) -> None:
        parsed = self._current
        assert parsed is not None
        parsed.body_size += len(body)
        if parsed.body_size > MAX_BODY:
            raise TooLarge

    def on_message_complete(self) -> None:
        parsed = self._current
        assert parsed is not None
        self._ended += 1
        parsed.method = self._parser.get_method().decode("latin-1")
        parsed.keep_alive = self._parser.should_keep_alive()
        parsed.old = self._parser.get_http_version() == "1.0"
        self._queue.append(parsed)
        self._current = None

    def _measure(self, parsed: Parsed, size: int) -> None:
        parsed.head_size += size
        if parsed.head_size > MAX_HEAD:
            raise TooLarge

    # From a request to its response

    def _take(self, data: bytes) -> None:
        if self._streaming or self._closing or self._transport is None:
            return
        self._active = self._loop.time()
        fresh = self._direct
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        self._begun = self._ended = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Upgrades are not for this service: the request is answered like any other, then the connection ends.
            for parsed in self._queue:
                parsed.keep_alive = False
        except httptools.HttpParserError as error:
            self._refuse(error)
            return
        alone = fresh and self._begun == self._ended == 1 and len(data) <= MEMO_REQUEST
        self._proceed(data if alone else None)

    def _proceed(self, key: bytes | None = None) -> None:
        """Answer what is queued for as long as the client takes the answers. `key` is the bytes of a lone request."""
        while self._queue and self._waiting is None and not (self._paused or self._streaming or self._closing):
            parsed = self._queue.popleft()
            request = self._request(parsed)
            if request.path == WORLD_PATH and parsed.method == "GET":
                self._begin_stream(parsed, request)
                break
            wait = self._listener.answers.wait(request)
            if wait is not None:
                self._begin_waiting(parsed, request, wait)
                break
            self._respond(parsed, request, key)
        self._settle()

    def _request(self, parsed: Parsed) -> Request:
        url = parsed.url.decode("latin-1")
        if "://" in url and not url.startswith("/"):
            url = "/" + url.partition("://")[2].partition("/")[2]
        path, _, query = url.partition("#")[0].partition("?")
        headers = parsed.headers
        client = self.client
        if self._listener.trusts_forwarded and b"x-forwarded-for" in headers:
            client = headers[b"x-forwarded-for"].decode("latin-1").strip()
        return Request(
            method=parsed.method,
            path=path,
            query=query,
            client=client,
            accept=headers.get(b"accept", b"").decode("latin-1"),
            if_none_match=headers.get(b"if-none-match", b"").decode("latin-1"),
        )

    def _respond(self, parsed: Parsed, request: Request, key: bytes | None = None) -> None:
        answer = self._answer(request)
        response = serialise(answer, parsed)
        self._listener.answered += 1
        self._write(response)
        if not parsed.keep_alive:
            self._close()
        elif answer.status < 500 and key is not None and "wait=" not in request.query:
            self._listener.memo.store(self.client, key, response)

    def _answer(self, request: Request) -> Answer:
        """A defect in rendering one value must not cost the client its connection, nor others theirs."""
        try:
            return self._listener.answers.answer(request)
        except Exception as error:
            log.exception("answer.failed", path=request.path, client=request.client)
            wanted = negotiate(request.accept)
            return Answer(500, render_error(500, f"cannot render this value: {error}", wanted), wanted.value)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _close(self) -> None:
        self._closing = True
        self._direct = False
        if self._transport is not None:
            self._transport.close()

    def _refuse(self, error: Exception) -> None:
        large = isinstance(error.__context__, TooLarge) or isinstance(error.__cause__, TooLarge)
        status, text = (431, "Request too large") if large else (400, "Bad request")
        parsed = Parsed()
        parsed.keep_alive = False
        wanted = negotiate("")
        self._write(serialise(Answer(status, render_error(status, text, wanted), wanted.value), parsed))
        self._close()

    def _settle(self) -> None:
        """What may happen next: read on or not, and whether remembered responses may be used."""
        blocked = self._paused or self._waiting is not None
        self._direct = not (blocked or self._queue or self._current or self._streaming or self._closing)
        reading = not (self._paused or len(self._queue) >= MAX_QUEUED)
        if reading != self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # Long polls

    def _begin_waiting(self, parsed: Parsed, request: Request, wait: Wait) -> None:
        self._waiting = (parsed, request, wait)
        self._deadline = self._loop.call_later(wait.seconds, self._answer_waiting)
        self._listener.waiting[self] = None

    def look_again(self) -> None:
        """The world changed: answer if what is waited for differs now."""
        if self._waiting is not None and self._listener.answers.differs(self._waiting[1], self._waiting[2]):
            self._answer_waiting()

    def _answer_waiting(self) -> None:
        if self._waiting is None:
            return
        parsed, request, _ = self._waiting
        self._stop_waiting()
        self._active = self._loop.time()
        self._respond(parsed, request)
        self._proceed()

    def _stop_waiting(self) -> None:
        self._waiting = None
        self._listener.waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # Streams

    @property
    def writable(self) -> bool:
        return self._transport is not None and not self._paused and not self._transport.is_closing()

    def write_line(self, line: bytes) -> None:
        self._write(b"%x\r\n%b\n\r\n" % (len(line) + 1, line))

    def _begin_stream(self, parsed: Parsed, request: Request) -> None:
        query = parse_qs(request.query, max_num_fields=10)
        epoch = query.get("epoch", [""])[0]
        revision = query.get("revision", [""])[0]
        try:
            self._listener.streams.open(self, epoch, int(revision) if revision.isascii() and revision.isdigit() else -1)
        except TooManyStreams as error:
            log.warning("stream.refused", client=self.client, reason=str(error))
            wanted = negotiate(request.accept)
            self._write(serialise(Answer(429, render_error(429, str(error), wanted), wanted.value), parsed))
            self._close()
            return
        self._streaming = True
        self._write(_STREAM_HEAD)
        self._listener.streams.resume(self)


class TooLarge(Exception):
    """A request's head or body is larger than any that this service can have a use for."""


_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nCache-Control: no-store\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_REASONS = {status.value: status.phrase for status in HTTPStatus}


def serialise(answer: Answer, parsed: Parsed) -> bytes:
    """A whole response as it goes over the wire."""
    head = [
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\nContent-Type: {answer.content_type}\r\n"
        "Access-Control-Allow-Origin: *\r\n"
    ]
    if answer.etag:
        head.append(f"ETag: {answer.etag}\r\nVary: Accept\r\n")
    if answer.location:
        head.append(f"Location: {answer.location}\r\n")
    if not parsed.keep_alive:
        head.append("Connection: close\r\n")
    elif parsed.old:
        head.append("Connection: keep-alive\r\n")
    if answer.status != 304:
        head.append(f"Content-Length: {sum(map(len, answer.body))}\r\n")
    head.append("\r\n")
    start = "".join(head).encode("latin-1", "replace")
    return start if parsed.method == "HEAD" or answer.status == 304 else b"".join((start, *answer.body))
