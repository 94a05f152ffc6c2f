"""Certificates for tests."""

from __future__ import annotations

import pytest

from drover.host.balancer.certificates import pem
from tests.certificates import self_signed


def certificate(*names: str) -> str:
    """A self-signed certificate with its key, as a proxy reads it."""
    signed, key = self_signed(*names)
    return pem(key, signed)


@pytest.fixture(scope="session")
def make_certificate() -> dict[str, str]:
    return {
        "one": certificate("one.example.com", "*.one.example.com"),
        "two": certificate("two.example.com"),
        "renewed": certificate("one.example.com", "*.one.example.com"),
    }
