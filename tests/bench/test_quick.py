"""Every bench runs, with small numbers. What it measures is not judged: timing never makes a test fail."""

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from bench.__main__ import BENCHES
from bench.result import Result

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

# `lists` is measured in the world of `scale`.
WRITES = {name: (name,) for name in BENCHES} | {"scale": ("scale", "lists")}
_MARKS = {"engine": pytest.mark.docker, "plane": (pytest.mark.docker, pytest.mark.e2e)}
_TIMEOUT = 300.0


@pytest.mark.parametrize("name", [pytest.param(name, marks=_MARKS.get(name, ())) for name in BENCHES])
async def test_a_bench_measures_and_writes(name: str, tmp_path: Path) -> None:
    argv = (sys.executable, "-m", "bench", name, "--quick", "--results", str(tmp_path))
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode == 0, output.decode()
    for each in WRITES[name]:
        result = msgspec.json.decode((tmp_path / f"{each}.json").read_bytes(), type=Result)
        assert result.measures
        assert all(measure.value >= 0 for measure in result.measures), result.measures
        assert result.title in (tmp_path / "README.md").read_text()
