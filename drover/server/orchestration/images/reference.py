"""Image references."""

from __future__ import annotations


def split_image(reference: str) -> tuple[str, str]:
    """A reference as registry host and the rest; images without a host come from Docker's own registry."""
    first, slash, rest = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return "index.docker.io", reference
