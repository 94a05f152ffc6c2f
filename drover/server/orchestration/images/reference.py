"""Image references."""

from __future__ import annotations

OFFICIAL = "index.docker.io"


def split_image(reference: str) -> tuple[str, str]:
    """A reference as registry host and the rest; images without a host come from Docker's own registry."""
    first, slash, rest = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return OFFICIAL, reference


def with_default_registry(image_uuid: str, registry: str) -> str:
    """An image that names no registry comes from the installation's own one, if it has one (``registry.default``)."""
    reference = image_uuid.removeprefix("docker:")
    if not registry or reference == image_uuid or split_image(reference) != (OFFICIAL, reference):
        return image_uuid
    return f"docker:{registry.rstrip('/')}/{reference}"
