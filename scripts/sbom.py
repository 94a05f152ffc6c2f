"""The bill of materials of a built image: every Debian and Python package in it, as CycloneDX JSON.

    .venv/bin/python scripts/sbom.py drover:latest dist/drover.cdx.json

The image itself is asked, so the list is what was shipped, not what was meant to be. Its id and its base are recorded
as the subject of the document.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

_PYTHON = """
import importlib.metadata, json
print(json.dumps(sorted([each.name, each.version] for each in importlib.metadata.distributions())))
"""
_DEBIAN = "${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n"


def bill_of_materials(image: str) -> Bom:
    bom = Bom()
    facts = json.loads(_run("docker", "image", "inspect", image))[0]
    labels = facts["Config"].get("Labels") or {}
    bom.metadata.component = Component(
        name=image.partition(":")[0],
        version=image.partition(":")[2] or "latest",
        type=ComponentType.CONTAINER,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=facts["Id"].removeprefix("sha256:"))],
        properties=[Property(name=name, value=value) for name, value in sorted(labels.items())],
    )
    for name, version in json.loads(_inside(image, "/opt/drover/bin/python", "-c", _PYTHON)):
        bom.components.add(_component(PackageURL("pypi", name=name.lower(), version=version)))
    for line in _inside(image, "dpkg-query", "--show", f"--showformat={_DEBIAN}").splitlines():
        status, name, version, architecture = line.split("\t")
        if status.startswith("ii"):
            purl = PackageURL("deb", "debian", name, version, qualifiers={"arch": architecture})
            bom.components.add(_component(purl))
    bom.register_dependency(bom.metadata.component, bom.components)
    return bom


def _component(purl: PackageURL) -> Component:
    return Component(
        name=purl.name, version=purl.version, type=ComponentType.LIBRARY, purl=purl, bom_ref=purl.to_string()
    )


def _inside(image: str, program: str, *arguments: str) -> str:
    return _run("docker", "run", "--rm", "--network=none", f"--entrypoint={program}", image, *arguments)


def _run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def main() -> None:
    image, target = sys.argv[1:]
    bom = bill_of_materials(image)
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(JsonV1Dot6(bom).output_as_string(indent=2))
    print(f"{path}: {len(bom.components)} packages of {image}")


if __name__ == "__main__":
    main()
