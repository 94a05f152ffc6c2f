"""What a stream token allows: its payload, one field a kind of stream (Rancher 1.6)."""

from __future__ import annotations

import msgspec


class LogClaims(msgspec.Struct, rename="pascal"):
    container: str = ""
    lines: int = 100
    follow: bool = True
    timestamps: bool = True
    since: str = ""


class ExecClaims(msgspec.Struct, rename="pascal"):
    container: str = ""
    cmd: list[str] = []
    attach_stdin: bool = True
    attach_stdout: bool = True
    attach_stderr: bool = False
    tty: bool = True


class ConsoleClaims(msgspec.Struct):
    container: str = ""


class StreamClaims(msgspec.Struct, rename="camel"):
    """`exit_code` asks an exec stream to end with the program's exit code."""

    logs: LogClaims = msgspec.field(default_factory=LogClaims)
    exec: ExecClaims = msgspec.field(default_factory=ExecClaims)
    console: ConsoleClaims = msgspec.field(default_factory=ConsoleClaims)
    resource_id: str = ""
    container_ids: dict[str, str] = {}
    exit_code: bool = False
