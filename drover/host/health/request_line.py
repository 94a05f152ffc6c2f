"""The request of an HTTP check, written the way HAProxy's `option httpchk` takes it.

One word is the path (method OPTIONS), two are method and path, three bring the version; headers may hide in the
version (`HTTP/1.1\\r\\nHost:\\ shop`). Quotes and escapes follow HAProxy's configuration language, with two
differences: variables are not replaced, because those would be the checker's own, and blanks that somebody forgot to
escape after the version are taken as they are, where HAProxy refuses to start.
"""

from __future__ import annotations

_ESCAPED = {" ": " ", "\\": "\\", "#": "#", "t": "\t", "r": "\r", "n": "\n", '"': '"', "'": "'", "$": "$"}
_HEX_DIGITS = 2


class BadRequestLine(ValueError):
    """The text is no request line; the message says what is wrong with it."""


def request_of(line: str) -> bytes:
    """The bytes to send. Raises BadRequestLine."""
    words = split_words(line)
    if not words:
        raise BadRequestLine("the request line is empty")
    method, path, version = "OPTIONS", words[0], "HTTP/1.0"
    if len(words) > 1:
        method, path = words[0], words[1]
    if len(words) > 2:
        version = " ".join(words[2:])
    head, _, body = version.partition("\r\n\r\n")
    version, *headers = head.split("\r\n")
    if not version.startswith("HTTP/1."):
        raise BadRequestLine(f"{version!r} is no version of HTTP/1; write for example HTTP/1.1")
    headers = [header for header in headers if header]
    names = {header.partition(":")[0].strip().lower() for header in headers}
    if version != "HTTP/1.0" and "connection" not in names:
        headers.append("Connection: close")
    if body and "content-length" not in names:
        headers.append(f"Content-Length: {len(body.encode())}")
    return "\r\n".join([f"{method} {path} {version}", *headers, "", body]).encode()


def split_words(line: str) -> list[str]:
    """The words of a line of HAProxy's configuration. Raises BadRequestLine for an open quote or a bad escape."""
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    position = 0
    while position < len(line):
        char = line[position]
        position += 1
        if char == "\\" and quote != "'":
            text, position = _escape(line, position)
            word = [*(word or []), text]
        elif quote:
            if char == quote:
                quote = ""
            else:
                word = [*(word or []), char]
        elif char in "\"'":
            quote = char
            word = word or []
        elif char == "#":
            break
        elif char in " \t\r\n":
            if word is not None:
                words.append("".join(word))
                word = None
        else:
            word = [*(word or []), char]
    if quote:
        raise BadRequestLine(f"a quotation mark {quote} is not closed")
    if word is not None:
        words.append("".join(word))
    return words


def _escape(line: str, position: int) -> tuple[str, int]:
    """What a backslash stands for; one before any other character is a character itself."""
    char = line[position : position + 1]
    if char in _ESCAPED and char:
        return _ESCAPED[char], position + 1
    if char == "x":
        digits = line[position + 1 : position + 1 + _HEX_DIGITS]
        try:
            return chr(int(digits, 16)) if len(digits) == _HEX_DIGITS else _no_digits(), position + 1 + _HEX_DIGITS
        except ValueError:
            _no_digits()
    return "\\", position


def _no_digits() -> str:
    raise BadRequestLine("\\x needs two hexadecimal digits, such as \\x20")
