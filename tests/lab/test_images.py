"""Images are built without an engine, reproducibly."""

import gzip
import hashlib
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.images.build import BuiltImage, build_image
from lab.images.catalog import LAB_IMAGES, ImageSpec

pytestmark = pytest.mark.anyio

SPEC = ImageSpec(
    name="lab/example",
    programs=("/usr/bin/tool",),
    files={"/srv/page": "hello\n", "/srv/run": "#!/bin/sh\n"},
    entrypoint=("/usr/bin/tool",),
    command=("--serve",),
    ports=("80/tcp",),
    stop_signal="SIGKILL",
)


@pytest.fixture
def sysroot(tmp_path: Path) -> Path:
    """A package tree whose only program is a link to a static file elsewhere, as alternatives make them."""
    tree = tmp_path / "sysroot-1"
    programs = tree / "root/usr/bin"
    programs.mkdir(parents=True)
    (tree / "root/opt").mkdir()
    (tree / "root/opt/real").write_text("static program")
    (tree / "root/opt/real").chmod(0o755)
    (programs / "tool").symlink_to("/opt/real")
    return tree


def _entries(image: BuiltImage) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(image.layer) as layer:
        return {entry.name: entry for entry in layer}


async def test_the_same_description_gives_the_same_bytes(sysroot: Path, tmp_path: Path) -> None:
    first = await build_image(SPEC, sysroot, tmp_path / "a")
    second = await build_image(SPEC, sysroot, tmp_path / "b")
    assert first.manifest_digest == second.manifest_digest


async def test_a_changed_description_gives_another_image(sysroot: Path, tmp_path: Path) -> None:
    first = await build_image(SPEC, sysroot, tmp_path)
    second = await build_image(replace(SPEC, files={"/srv/page": "bye\n"}), sysroot, tmp_path)
    assert first.layer_digest != second.layer_digest


async def test_a_linked_program_is_copied_as_the_file_it_leads_to(sysroot: Path, tmp_path: Path) -> None:
    entries = _entries(await build_image(SPEC, sysroot, tmp_path))
    assert entries["usr/bin/tool"].isfile()
    assert entries["usr/bin/tool"].mode == 0o755


async def test_scripts_are_executable_and_pages_are_not(sysroot: Path, tmp_path: Path) -> None:
    entries = _entries(await build_image(SPEC, sysroot, tmp_path))
    assert (entries["srv/run"].mode, entries["srv/page"].mode) == (0o755, 0o644)


async def test_nothing_of_the_builder_shows(sysroot: Path, tmp_path: Path) -> None:
    entries = _entries(await build_image(SPEC, sysroot, tmp_path))
    assert {(entry.uid, entry.gid, entry.mtime, entry.uname) for entry in entries.values()} == {(0, 0, 0, "")}


async def test_manifest_and_configuration_describe_the_layer(sysroot: Path, tmp_path: Path) -> None:
    image = await build_image(SPEC, sysroot, tmp_path)
    manifest, config = json.loads(image.manifest), json.loads(image.config)
    assert manifest["layers"][0]["digest"] == image.layer_digest
    assert manifest["layers"][0]["size"] == image.layer.stat().st_size
    assert manifest["config"]["digest"] == image.config_digest
    plain = gzip.decompress(image.layer.read_bytes())
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(plain).hexdigest()}"]
    assert config["config"]["Entrypoint"] == ["/usr/bin/tool"]
    assert config["config"]["StopSignal"] == "SIGKILL"
    assert config["config"]["ExposedPorts"] == {"80/tcp": {}}


async def test_a_missing_program_is_named(sysroot: Path, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="/usr/bin/absent"):
        await build_image(replace(SPEC, programs=("/usr/bin/absent",)), sysroot, tmp_path)


def test_every_image_of_the_lab_has_a_name_of_its_own() -> None:
    assert len({spec.name for spec in LAB_IMAGES}) == len(LAB_IMAGES) == 5
