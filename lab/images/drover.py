"""The Drover image of this checkout, as an archive that every host's engine can load.

It is the image that `make image` builds, with the machine's own engine; an engine that had to be started for it is
stopped again. Nothing is built as long as what goes into the image is the same.
"""

import hashlib
import os
from pathlib import Path

from lab.command import run

IMAGE = "drover:latest"
_CHECKOUT = Path(__file__).resolve().parents[2]
_INPUTS = ("drover", "images", "scripts/build-base", "scripts/build-image", "pyproject.toml", "requirements.lock")
_BUILD_TIMEOUT = 900.0


async def drover_archive(cache: Path) -> Path:
    """Path of the archive; built now if the sources changed since the last one.

    The agents of a lab run from the checkout and look there for the program that containers wait in.
    """
    await _script("install-packages", "engine", "image", "lab")
    await _script("build-wait")
    archive = cache / "images" / f"drover-{_fingerprint()}.tar"
    if archive.exists():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    await _script("ensure-engine")
    try:
        await _script("build-image")
        draft = archive.with_suffix(f".{os.getpid()}")
        await run("docker", "save", "--output", str(draft), IMAGE, timeout=300)
        draft.rename(archive)
    finally:
        await _script("release-engine")
    for old in archive.parent.glob("drover-*.tar"):
        if old != archive:
            old.unlink(missing_ok=True)
    return archive


async def _script(name: str, *arguments: str) -> None:
    await run(str(_CHECKOUT / "scripts" / name), *arguments, timeout=_BUILD_TIMEOUT)


def _fingerprint() -> str:
    """Over the contents of everything the image is made from."""
    digest = hashlib.sha256()
    for place in _INPUTS:
        path = _CHECKOUT / place
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(_CHECKOUT)}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
