"""Results as a table on the terminal and as files: one JSON document a bench, and one page for all of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.result import Measure, Result

_VERDICT_STYLE = {"met": "green", "missed": "red", "": ""}


def show(result: Result, console: Console) -> None:
    console.print(f"\n[bold]{result.title}[/bold]  [dim]{_circumstances(result)}[/dim]")
    if result.skipped:
        console.print(f"  skipped: {result.skipped}")
        return
    table = Table(box=None, pad_edge=True, header_style="dim")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("goal")
    table.add_column("")
    table.add_column("", style="dim")
    for each in result.measures:
        verdict = each.verdict
        style = _VERDICT_STYLE[verdict]
        shown = f"[{style}]{verdict}[/{style}]" if style else ""
        table.add_row(each.name, number(each.value), each.unit, str(each.goal or ""), shown, each.note)
    console.print(table)


def write(results: list[Result], directory: Path) -> Path:
    """Write what was measured, keep what earlier runs found of other benches, and return the page's path."""
    directory.mkdir(parents=True, exist_ok=True)
    for result in results:
        if not result.skipped:
            document = msgspec.json.format(msgspec.json.encode(result), indent=1)
            (directory / f"{result.bench}.json").write_bytes(document + b"\n")
    known = [msgspec.json.decode(path.read_bytes(), type=Result) for path in sorted(directory.glob("*.json"))]
    page = directory / "README.md"
    page.write_text(_page(known))
    return page


def number(value: float) -> str:
    """Plain digits, as many as mean something: 0.0123, 1.234, 51.2, 20,000."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.3g}"


def _page(results: list[Result]) -> str:
    parts = [
        "# Results of the benchmarks\n\n"
        "Written by `make bench`; what is measured and how is told in "
        "[docs/internals/bench.md](../../docs/internals/bench.md). Values are medians; the samples are in the JSON "
        "files. Compare ratios rather than times: the machine is named because it matters.\n"
    ]
    parts += [_section(result) for result in results]
    return "\n".join(parts)


def _section(result: Result) -> str:
    lines = [
        f"## {result.title}",
        "",
        f"`python -m bench`: `{result.bench}`. {_circumstances(result)}.",
        "",
        "| | value | goal | | |",
        "| --- | ---: | --- | --- | --- |",
    ]
    lines += [_row(each) for each in result.measures]
    return "\n".join(lines) + "\n"


def _row(each: Measure) -> str:
    value = f"{number(each.value)} {each.unit}".strip()
    return f"| {each.name} | {value} | {each.goal or ''} | {each.verdict} | {each.note} |"


def _circumstances(result: Result) -> str:
    parts = []
    if (machine := result.machine) is not None:
        parts.append(
            f"{machine.cores} cores, {machine.memory_gib:g} GiB, Linux {machine.kernel}, Python {machine.python}, "
            f"others kept {machine.others_busy:g} cores busy, {machine.date}"
        )
        if machine.nice:
            parts.append(f"run at nice {machine.nice}")
    parts += [f"{name.replace('_', ' ')} {value}" for name, value in result.settings.items()]
    if result.seconds:
        parts.append(f"took {result.seconds:.0f} s")
    return ", ".join(parts)
