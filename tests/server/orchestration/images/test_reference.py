from __future__ import annotations

import pytest

from drover.server.orchestration.images.reference import split_image, with_default_registry


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("nginx", ("index.docker.io", "nginx")),
        ("library/nginx:1", ("index.docker.io", "library/nginx:1")),
        ("localhost/x", ("localhost", "x")),
        ("registry:5000/a/b", ("registry:5000", "a/b")),
        ("example.org/a@sha256:0", ("example.org", "a@sha256:0")),
    ],
)
def test_references(reference: str, expected: tuple[str, str]) -> None:
    assert split_image(reference) == expected


@pytest.mark.parametrize(
    ("image", "registry", "expected"),
    [
        ("docker:nginx", "", "docker:nginx"),
        ("docker:nginx", "own.example/", "docker:own.example/nginx"),
        ("docker:a.example/nginx", "own.example", "docker:a.example/nginx"),
        ("sim:nginx", "own.example", "sim:nginx"),
    ],
)
def test_the_default_registry(image: str, registry: str, expected: str) -> None:
    assert with_default_registry(image, registry) == expected
