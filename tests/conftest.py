"""Fixtures that every test may use, and what holds for all of them."""

import gc
import os
from collections.abc import Generator

import pytest


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported and collected: it lives on, and is a third of a run's time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips itself for want of a program fails in CI: there everything must be installed."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The whole project runs on asyncio."""
    return "asyncio"
