"""The charon of a router: started when none answers, adopted when one does, never taken down with the controller.

charon holds the keys and, in user space, carries the packets. It therefore runs as a process of its own, in a session
of its own, and its socket lies in a folder that survives the controller. The next controller finds it there and goes
on with it, unless the configuration it was started with is another one than is wanted now. In the `ipsec` stack it has
a container of its own (see `separate`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import structlog

from drover.common.errors import DroverError, SettingsError
from drover.host.network.routers.connections import REQID, Datapath
from drover.host.network.routers.iproute import run
from drover.host.network.routers.vici_client import CharonGone, CharonRefused, connect

log = structlog.get_logger(__name__)

PROGRAM = Path("/usr/lib/ipsec/charon")
PID_FILE = Path("/var/run/charon.pid")
START_SECONDS = 10.0

_CRYPTO = "random nonce aesni aes sha1 sha2 hmac gcm gmp kdf"
_PLUGINS = {
    Datapath.KERNEL: f"{_CRYPTO} kernel-netlink socket-default vici",
    # libipsec comes first: it takes the associations, netlink the routes and addresses.
    Datapath.USERLAND: f"{_CRYPTO} kernel-libipsec kernel-netlink socket-default vici",
}


class CharonFailed(DroverError):
    """charon did not start; its own words are in the program's output."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """What this kernel can do."""

    datapath: Datapath
    gcm: bool


def configuration(kernel: Kernel, listen: Path, *, debug: bool = False) -> str:
    """The text of strongswan.conf."""
    level = 2 if debug else 0
    return f"""\
charon {{
  load = {_PLUGINS[kernel.datapath]}
  make_before_break = yes
  # A tunnel that is proven anew stands beside the old one for a while (see `renewal`).
  reuse_ikesa = no
  ignore_acquire_ts = yes
  threads = 16
  # A dead peer is noticed after some 14 s instead of three minutes.
  retransmit_timeout = 1.5
  retransmit_base = 1.3
  retransmit_tries = 4
  # Many hosts may start at the same moment; cookies protect where a flood is one.
  init_limit_half_open = 0
  plugins {{
    vici {{
      socket = unix://{listen}
    }}
  }}
  filelog {{
    stderr {{
      default = {level}
      ike_name = yes
    }}
  }}
}}
"""


class Charon:
    """The charon that listens on a socket in ``folder``."""

    def __init__(self, folder: Path, kernel: Kernel, *, program: Path = PROGRAM, debug: bool = False) -> None:
        self.kernel = kernel
        self.socket = folder / "charon.vici"
        self.adopted = False
        self._folder = folder
        self._program = program
        self._text = configuration(kernel, self.socket, debug=debug)
        self._process: subprocess.Popen[bytes] | None = None

    async def ensure(self) -> None:
        """Make sure that a charon with the wanted configuration answers. Raises CharonFailed."""
        if await self.answers():
            if self.is_ours():
                self.adopted = True
                log.info("charon.adopted", socket=str(self.socket))
                return
            await self._stop()
        await self._start()

    async def _start(self) -> None:
        process = self._launch()
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self.answers():
                    if (status := process.poll()) is not None:
                        raise CharonFailed(f"charon ended with status {status}; run with --debug to see why")
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            process.kill()
            raise CharonFailed(f"charon did not answer within {START_SECONDS:.0f} s; run with --debug") from error
        self.note_configuration()
        self.adopted = False
        log.info("charon.started", pid=process.pid, datapath=self.kernel.datapath.value)

    def prepare(self, *, keep_socket: bool = False) -> dict[str, str]:
        """Write the configuration; the environment to start charon with."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = self._folder / "strongswan.conf"
        draft = settings.with_suffix(".new")
        draft.write_text(self._text)
        draft.replace(settings)
        if not keep_socket:
            self.socket.unlink(missing_ok=True)
        return {**os.environ, "STRONGSWAN_CONF": str(settings)}

    def note_configuration(self) -> None:
        """Remember what the charon that runs was configured with."""
        self._mark.write_text(self._digest())

    def _launch(self) -> subprocess.Popen[bytes]:
        # A file left by a charon of an earlier life of this container may name a process that is another one now.
        PID_FILE.unlink(missing_ok=True)
        try:
            # Not asyncio's subprocess: that one ends its children with itself.
            self._process = subprocess.Popen(
                [self._program],
                stdin=subprocess.DEVNULL,
                env=self.prepare(),
                start_new_session=True,
            )
        except OSError as error:
            raise CharonFailed(f"cannot start {self._program}: {error.strerror}; install strongswan-charon") from error
        return self._process

    async def _stop(self) -> None:
        """End a charon that was started with another configuration."""
        pid = _owner(self.socket)
        log.info("charon.replaced", pid=pid)
        os.kill(pid, signal.SIGTERM)
        for _ in range(int(START_SECONDS / 0.1)):
            if not await self.answers():
                return
            await asyncio.sleep(0.1)
        raise CharonFailed(f"the charon on {self.socket} does not end: end process {pid} by hand")

    async def answers(self) -> bool:
        """Whether a charon listens on the socket and does what it is asked."""
        if not self.socket.exists():
            return False
        try:
            async with connect(self.socket) as vici:
                await vici.request("version", timeout=3)
        except (CharonGone, CharonRefused, TimeoutError):
            return False
        return True

    def is_ours(self) -> bool:
        """Whether the charon that answers has the wanted configuration."""
        return self._mark.exists() and self._mark.read_text() == self._digest()

    @property
    def _mark(self) -> Path:
        return self._folder / "charon.started-with"

    def _digest(self) -> str:
        return hashlib.sha256(self._text.encode()).hexdigest()


def _owner(path: Path) -> int:
    """The process that listens on a socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        pid: int = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid


async def probe_kernel() -> Kernel:
    """Find out whether this kernel has ESP, and with AES-GCM, by adding a state and taking it away again."""
    key = "0x" + "00" * 20
    algorithms = (("aead", "rfc4106(gcm(aes))", key, "128"), ("enc", "cbc(aes)", key[:34], "auth", "hmac(sha1)", key))
    for number, algorithm in enumerate(algorithms):
        ends = ("src", "127.0.0.1", "dst", "127.0.0.2", "proto", "esp", "spi", "0xd0f1")
        added = await run("ip", "xfrm", "state", "add", *ends, "reqid", str(REQID + 1), "mode", "tunnel", *algorithm)
        if added.status == 0:
            await run("ip", "xfrm", "state", "delete", *ends)
            return Kernel(Datapath.KERNEL, gcm=number == 0)
        log.debug("kernel.without", algorithm=algorithm[1], reason=added.error)
    return Kernel(Datapath.USERLAND, gcm=True)


async def chosen_kernel(datapath: str) -> Kernel:
    """What encrypts here: as the settings say, else as the kernel can. Raises SettingsError for what it cannot."""
    if datapath == "userland":
        return Kernel(Datapath.USERLAND, gcm=True)
    found = await probe_kernel()
    if datapath == "kernel" and found.datapath is not Datapath.KERNEL:
        raise SettingsError(
            "--datapath kernel: this kernel has no ESP; use auto, or load its modules esp4 and xfrm_user"
        )
    return found
