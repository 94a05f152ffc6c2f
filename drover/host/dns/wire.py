"""DNS messages as bytes (RFC 1035, 6891): a query taken apart, a reply put together.

Only what a name server of this kind needs, because it runs for each question that was not asked before. Names are
lower-case text with a dot at the end; the question of a reply is the asked one, bit by bit, so that its letters keep
the case that the client may check.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

A, CNAME, SOA, PTR, TXT, AAAA, OPT, ANY = 1, 5, 6, 12, 16, 28, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, BADVERS = 0, 1, 2, 3, 4, 16

QR, AUTHORITATIVE, TRUNCATED, RECURSION_DESIRED, RECURSION_AVAILABLE = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
CHECKING_DISABLED = 0x0010
OPCODE = 0x7800
DNSSEC_OK = 0x8000

HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")

PLAIN_SIZE = 512
OWN_SIZE = 1232  # what we take over UDP: fits every path without fragments
TCP_SIZE = 65535
ASKED_NAME = b"\xc0\x0c"  # a pointer to the name in the question


class Malformed(Exception):
    """Bytes that are no DNS message. From a client: nothing can be answered but FORMERR, or nothing at all."""


@dataclass(frozen=True, slots=True)
class Edns:
    """What the asker said about itself: the size that it takes over UDP, and its flags."""

    size: int
    version: int
    dnssec_ok: bool
    plain: bool
    """Without options, so that the same bytes will come again."""


@dataclass(frozen=True, slots=True)
class Query:
    """``name`` in lower case with a dot at the end; ``question`` the bytes as asked. ``questions`` may be any number:
    name and type belong to the only one.
    """

    id: int
    flags: int
    questions: int
    question: bytes
    name: str
    type: int
    cls: int
    edns: Edns | None
    repeats: bool
    """Whether these bytes, apart from the id, are what the next asker of the same will send too."""

    @property
    def limit(self) -> int:
        """Bytes that a UDP reply may have."""
        return PLAIN_SIZE if self.edns is None else max(PLAIN_SIZE, self.edns.size)


def parse_query(data: bytes) -> Query:
    """Raises Malformed for anything that is no query."""
    try:
        number, flags, questions, answers, authorities, additional = HEADER.unpack_from(data)
        if flags & QR:
            raise Malformed("a reply, not a query")
        if questions != 1:
            return Query(number, flags, questions, b"", "", 0, 0, None, False)
        name, end = read_name(data, 12)
        kind, cls = _QUESTION.unpack_from(data, end)
        question = data[12 : end + 4]
        at, edns = end + 4, None
        for _ in range(answers + authorities + additional):
            owner_end = skip_name(data, at)
            record, size, extended, length = _RECORD.unpack_from(data, owner_end)
            if record == OPT:
                edns = Edns(size, (extended >> 16) & 0xFF, bool(extended & DNSSEC_OK), plain=length == 0)
            at = owner_end + 10 + length
    except (struct.error, IndexError) as error:
        raise Malformed(str(error)) from error
    if at > len(data):
        raise Malformed("shorter than it says")
    repeats = at == len(data) and (edns is None or edns.plain) and question == question.lower()
    return Query(number, flags, questions, question, name, kind, cls, edns, repeats)


def read_name(data: bytes, at: int) -> tuple[str, int]:
    """The name at a position in lower case, and where it ends. Follows pointers, which may only lead backwards.

    A byte that could not be told from our own notation (a dot within a label, anything beyond ASCII) becomes an
    escape ``\\ddd``, which no record has.
    """
    labels: list[str] = []
    end, total = -1, 0
    while True:
        length = data[at]
        if length == 0:
            return ".".join(labels) + ".", (at + 1 if end < 0 else end)
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | data[at + 1]
            if target >= at:
                raise Malformed("a name that points forwards")
            end = at + 2 if end < 0 else end
            at = target
            continue
        if length > 63:
            raise Malformed("a label of unknown kind")
        label = data[at + 1 : at + 1 + length]
        total += length + 1
        if len(label) < length or total > 254:
            raise Malformed("a name that is too long")
        labels.append(_text(label))
        at += length + 1


def _text(label: bytes) -> str:
    text = label.decode("latin-1").lower() if label.isascii() else ""
    if text and "." not in text and "\\" not in text and text.isprintable():
        return text
    return "".join(chr(byte) if 0x21 <= byte < 0x7F and byte not in b".\\" else f"\\{byte:03d}" for byte in label)


def skip_name(data: bytes, at: int) -> int:
    """Where the name at a position ends."""
    while True:
        length = data[at]
        if length == 0:
            return at + 1
        if length >= 0xC0:
            return at + 2
        if length > 63:
            raise Malformed("a label of unknown kind")
        at += length + 1


def write_name(name: str) -> bytes:
    """Raises ValueError for what is no name: an empty or too long label, or letters beyond ASCII."""
    parts = []
    for label in name.rstrip(".").split(".") if name != "." else ():
        raw = label.encode("ascii")
        if not 0 < len(raw) < 64:
            raise ValueError(f"{name!r} is no DNS name: a label has 1 to 63 letters")
        parts.append(bytes((len(raw),)) + raw)
    wire = b"".join(parts) + b"\x00"
    if len(wire) > 255:
        raise ValueError(f"{name!r} is no DNS name: it is longer than 253 letters")
    return wire


def record(kind: int, ttl: int, data: bytes, owner: bytes = ASKED_NAME) -> bytes:
    return owner + _RECORD.pack(kind, IN, ttl, len(data)) + data


def soa(zone: str, serial: int, ttl: int) -> bytes:
    """The zone's SOA record, with the figures of Rancher 1.6: refresh 60, retry 10, expire 86400, minimum 1 s."""
    owner = write_name(zone)
    numbers = struct.pack("!5I", serial & 0xFFFFFFFF, 60, 10, 86400, 1)
    return record(SOA, ttl, owner + owner + numbers, owner)


def opt(extended_rcode: int = 0) -> bytes:
    """Our own OPT record, for those who sent one."""
    return b"\x00" + _RECORD.pack(OPT, OWN_SIZE, (extended_rcode >> 4) << 24, 0)


def header(query: Query, flags: int, rcode: int, answers: int, authorities: int) -> bytes:
    """The header of a reply; recursion-desired and checking-disabled are the asker's."""
    kept = query.flags & (OPCODE | RECURSION_DESIRED | CHECKING_DISABLED)
    additional = 0 if query.edns is None else 1
    return HEADER.pack(
        query.id, QR | kept | flags | (rcode & 0xF), 1 if query.question else 0, answers, authorities, additional
    )


def reply(
    query: Query,
    limit: int,
    *,
    rcode: int = NOERROR,
    flags: int = AUTHORITATIVE | RECURSION_AVAILABLE,
    answers: Sequence[bytes] = (),
    authority: Sequence[bytes] = (),
) -> bytes:
    """A reply of at most ``limit`` bytes: the answers that fit, marked as truncated when that is not all of them.

    Rancher 1.6 sent nothing but the mark; resolvers that cannot ask again over TCP (musl's) need the partial answer.
    """
    tail = b"" if query.edns is None else opt(rcode)
    room = limit - 12 - len(query.question) - len(tail)
    fitting = _fitting(answers, room)
    if fitting < len(answers):
        body, flags, authority = b"".join(answers[:fitting]), flags | TRUNCATED, ()
    else:
        body = b"".join((*answers, *authority))
        if len(body) > room:
            body, flags, authority = b"".join(answers), flags | TRUNCATED, ()
    return header(query, flags, rcode, fitting, len(authority)) + query.question + body + tail


def _fitting(records: Sequence[bytes], room: int) -> int:
    for count, each in enumerate(records):
        room -= len(each)
        if room < 0:
            return count
    return len(records)


def refusal(data: bytes, rcode: int) -> bytes | None:
    """An answer to what could not be read; None when not even its id is known, or when it is no question."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    number, flags = struct.unpack_from("!HH", data)
    return HEADER.pack(number, QR | (flags & (OPCODE | RECURSION_DESIRED)) | rcode, 0, 0, 0, 0)
