"""From an image's description to the bytes a registry takes.

No engine is needed: an image is a tar of a few files, a configuration and a manifest. The same description gives the
same bytes on every machine with the same packages, so the digests are stable and a second push finds nothing to do.
"""

import asyncio
import gzip
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.command import run
from lab.errors import LabError
from lab.images.catalog import ImageSpec

_LOADER = "/lib64/ld-linux-x86-64.so.2"
_BUSYBOX = "/usr/bin/busybox"
_EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image of one gzip-compressed layer, in the registry's schema 2."""

    name: str
    layer: Path
    layer_digest: str
    config: bytes
    manifest: bytes

    @property
    def config_digest(self) -> str:
        return _digest(self.config)

    @property
    def manifest_digest(self) -> str:
        return _digest(self.manifest)


async def build_image(spec: ImageSpec, sysroot: Path, cache: Path) -> BuiltImage:
    """Build `spec` out of the package tree `sysroot`, or take it from the cache."""
    key = hashlib.sha256(json.dumps([asdict(spec), sysroot.name], sort_keys=True).encode()).hexdigest()[:12]
    folder = cache / "images" / f"{spec.name.replace('/', '-')}-{key}"
    if not folder.exists():
        draft = folder.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            tree = Path(scratch)
            await _assemble(spec, sysroot / "root", tree)
            await asyncio.to_thread(_write_image, spec, tree, draft)
        draft.rename(folder)
    layer = folder / "layer.tar.gz"
    return BuiltImage(
        name=spec.name,
        layer=layer,
        layer_digest=_digest(layer.read_bytes()),
        config=(folder / "config.json").read_bytes(),
        manifest=(folder / "manifest.json").read_bytes(),
    )


async def _assemble(spec: ImageSpec, source: Path, tree: Path) -> None:
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for directory in ("/etc", "/dev", "/proc", "/sys", "/root", "/run", *spec.directories):
        _inside(tree, directory).mkdir(parents=True, exist_ok=True)
    (tree / "tmp").mkdir(mode=0o1777)
    (tree / "tmp").chmod(0o1777)
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    for program in spec.programs:
        await _copy_program(program, source, tree)
    if spec.applets:
        await _copy_busybox(source, tree)
    for path, text in spec.files.items():
        target = _inside(tree, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755 if text.startswith("#!") else 0o644)


async def _copy_program(program: str, source: Path, tree: Path) -> None:
    _copy_file(program, source, tree)
    listing = await run("chroot", str(source), _LOADER, "--list", program) if _is_dynamic(source, program) else ""
    for line in listing.splitlines():
        library = next((word for word in line.split() if word.startswith("/")), None)
        if library:
            _copy_file(library, source, tree)


def _is_dynamic(source: Path, program: str) -> bool:
    return b"ld-linux" in _resolve(source, program).read_bytes()[:4096]


async def _copy_busybox(source: Path, tree: Path) -> None:
    # The dynamic build, not busybox-static: name resolution works only with the shared C library.
    await _copy_program(_BUSYBOX, source, tree)
    for applet in (await run("chroot", str(source), _BUSYBOX, "--list")).split():
        link = tree / "usr/bin" / applet
        if not link.exists():
            link.symlink_to("busybox")


def _copy_file(path: str, source: Path, tree: Path) -> None:
    """Copy what `path` leads to, under the name `path`."""
    target = _inside(tree, path)
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(_resolve(source, path), target)


def _resolve(source: Path, path: str) -> Path:
    """Follow links as they would be followed with `source` as the root directory."""
    current = _inside(source, path)
    for _step in range(8):
        if not current.is_symlink():
            break
        link = Path(current.readlink())
        current = source / link.relative_to("/") if link.is_absolute() else current.parent / link
    if not current.is_file():
        raise LabError(f"the packages of the lab's images have no file {path}")
    return current


def _inside(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _write_image(spec: ImageSpec, tree: Path, folder: Path) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in _walk(tree):
            archive.add(path, arcname=str(path.relative_to(tree)), recursive=False, filter=_anonymous)
    layer = gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)
    (folder / "layer.tar.gz").write_bytes(layer)
    config = _config(spec, _digest(plain.getvalue()))
    (folder / "config.json").write_bytes(config)
    (folder / "manifest.json").write_bytes(_manifest(config, layer))


def _walk(tree: Path) -> Iterator[Path]:
    for path in sorted(tree.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def _config(spec: ImageSpec, diff_id: str) -> bytes:
    runtime: dict[str, object] = {
        "Env": list(spec.environment),
        "Entrypoint": list(spec.entrypoint) or None,
        "Cmd": list(spec.command) or None,
        "ExposedPorts": {port: {} for port in spec.ports},
        "StopSignal": spec.stop_signal,
        "User": spec.user,
        "WorkingDir": "/",
    }
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": _EPOCH,
        "config": runtime,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": _EPOCH, "created_by": "drover lab"}],
    }
    return json.dumps(config, sort_keys=True).encode()


def _manifest(config: bytes, layer: bytes) -> bytes:
    media = "application/vnd.docker"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{media}.distribution.manifest.v2+json",
        "config": {
            "mediaType": f"{media}.container.image.v1+json",
            "size": len(config),
            "digest": _digest(config),
        },
        "layers": [{"mediaType": f"{media}.image.rootfs.diff.tar.gzip", "size": len(layer), "digest": _digest(layer)}],
    }
    return json.dumps(manifest, indent=3).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
