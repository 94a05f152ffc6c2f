"""A directory tree with the files of the packages that images are cut from.

The packages come through the machine's own apt, so its mirrors, proxies and keys apply; nothing is installed on the
machine, and no package's scripts run.
"""

import hashlib
import json
import shutil
from pathlib import Path

from lab.command import run
from lab.errors import LabError

_MERGED = ("bin", "sbin", "lib", "lib64")


async def prepare_sysroot(cache: Path, packages: tuple[str, ...]) -> Path:
    """The tree for these packages and all they depend on, made now unless an earlier call left it in the cache."""
    key = hashlib.sha256(json.dumps(packages).encode()).hexdigest()[:12]
    done = cache / f"sysroot-{key}"
    if done.exists():
        return done
    draft = cache / f"sysroot-{key}.new"
    shutil.rmtree(draft, ignore_errors=True)
    archives = draft / "archives"
    (archives / "partial").mkdir(parents=True)
    root = draft / "root"
    for name in _MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    await _download(packages, archives)
    for archive in sorted(archives.glob("*.deb")):
        await _extract(archive, root)
    shutil.rmtree(archives)
    draft.rename(done)
    return done


async def _download(packages: tuple[str, ...], archives: Path) -> None:
    # An empty status file makes apt believe that nothing is installed, so that it fetches every dependency.
    status = archives / "status"
    status.touch()
    options = (
        f"Dir::State::status={status}",
        f"Dir::Cache::archives={archives}",
        "APT::Sandbox::User=root",
        "APT::Install-Recommends=false",
        "Debug::NoLocking=true",
    )
    flags = [part for option in options for part in ("-o", option)]
    try:
        await run("apt-get", *flags, "--yes", "--download-only", "install", *packages, timeout=600)
    except LabError as failure:
        raise LabError(f"cannot fetch the images' packages; does `apt-get update` work here? ({failure})") from failure


async def _extract(archive: Path, root: Path) -> None:
    # tar keeps the links /bin -> usr/bin and so on, which packages of Debian 12 still carry files "through".
    pipe = 'dpkg-deb --fsys-tarfile "$0" | tar --extract --keep-directory-symlink --directory "$1"'
    await run("sh", "-c", pipe, str(archive), str(root))
