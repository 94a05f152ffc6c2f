"""How the request of an HTTP check is written."""

from __future__ import annotations

import pytest

from drover.host.health.request_line import BadRequestLine, request_of, split_words

CASES = [
    ("/only", b"OPTIONS /only HTTP/1.0\r\n\r\n"),
    ("GET /two", b"GET /two HTTP/1.0\r\n\r\n"),
    ('GET "/path" "HTTP/1.0"', b"GET /path HTTP/1.0\r\n\r\n"),
    (r"GET /p HTTP/1.1\r\nHost:\ example", b"GET /p HTTP/1.1\r\nHost: example\r\nConnection: close\r\n\r\n"),
    ('GET "/p q" HTTP/1.1', b"GET /p q HTTP/1.1\r\nConnection: close\r\n\r\n"),
    (r"GET '/sq\x' HTTP/1.1", b"GET /sq\\x HTTP/1.1\r\nConnection: close\r\n\r\n"),
    (r"GET /a\x41\tb HTTP/1.0", b"GET /aA\tb HTTP/1.0\r\n\r\n"),
    (
        r'HEAD "/q\"z" "HTTP/1.1\r\nHost:\ a.b\r\nX-Y:\ z"',
        b'HEAD /q"z HTTP/1.1\r\nHost: a.b\r\nX-Y: z\r\nConnection: close\r\n\r\n',
    ),
    (r"GET /h\#frag HTTP/1.0", b"GET /h#frag HTTP/1.0\r\n\r\n"),
    ("GET /$HOME/x HTTP/1.0", b"GET /$HOME/x HTTP/1.0\r\n\r\n"),
    (r"GET /a\qb HTTP/1.0", b"GET /a\\qb HTTP/1.0\r\n\r\n"),
]
"""Each was seen to be sent by HAProxy 2.6, which writes header names in lower case; `test_haproxy` repeats that."""


@pytest.mark.parametrize(("line", "sent"), [pytest.param(*case, id=case[0]) for case in CASES])
def test_what_is_sent(line: str, sent: bytes) -> None:
    assert request_of(line) == sent


def test_a_blank_that_nobody_escaped_is_a_blank() -> None:
    assert request_of(r"GET / HTTP/1.1\r\nHost: shop") == b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"


def test_the_connection_header_of_the_user_stays() -> None:
    assert request_of(r"GET / HTTP/1.1\r\nConnection:\ keep-alive").count(b"onnection:") == 1


def test_a_body_gets_its_length() -> None:
    assert request_of(r"POST /x HTTP/1.0\r\n\r\nabc") == b"POST /x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc"


def test_a_comment_ends_the_line() -> None:
    assert split_words("GET /a#b c") == ["GET", "/a"]


def test_an_empty_word_can_be_quoted() -> None:
    assert split_words("'' \"\"") == ["", ""]


@pytest.mark.parametrize(
    "line", ["", "   ", 'GET "/open', r"GET /\xZZ", r"GET /\x4", "GET / HTTP/2.0", "GET / nonsense"]
)
def test_what_is_no_request(line: str) -> None:
    with pytest.raises(BadRequestLine):
        request_of(line)
