import io

import pytest

from drover.cli.output import Format, Row, print_rows, printable
from drover.cli.progress import LiveProgress, PlainProgress
from drover.client.apply import Phase
from drover.client.resource import Resource

ROWS = [Row("1s1", ["1s1", "web", {"a": "1", "b": "2"}]), Row("1s2", ["1s2", "a-very-long-name", None])]


def printed(style: Format) -> str:
    out = io.StringIO()
    print_rows(["ID", "NAME", "LABELS"], ROWS, style, stream=out)
    return out.getvalue()


def test_columns_are_ten_wide_and_three_apart() -> None:
    assert printed(Format()) == (
        "ID        NAME               LABELS\n1s1       web                a=1,b=2\n1s2       a-very-long-name\n"
    )


def test_ids_only() -> None:
    assert printed(Format(quiet=True)) == "1s1\n1s2\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "true"),
        ([1, "x"], "1, x"),
        ("a\nb\tc", "a b c"),
        ("\x1b]0;title\x07", "?]0;title?"),
        (3, "3"),
    ],
)
def test_cells(value: object, shown: str) -> None:
    assert printable(value) == shown


def test_plain_progress_has_one_line_a_change() -> None:
    lines: list[str] = []
    progress = PlainProgress(lines.append)
    progress.report("web", Phase.STARTING, "")
    progress.report("web", Phase.STARTING, "")
    progress.on_change(Resource({"name": "web"}))
    progress.report("web", Phase.FAILED, "no\x1b host")
    assert lines == ["web: starting\n", "web: failed (no? host)\n"]


def test_live_progress_shows_what_the_server_says() -> None:
    from rich.console import Console

    progress = LiveProgress()
    progress.report("db", Phase.DONE, "healthy")
    progress.report("web", Phase.STARTING, "")
    progress.on_change(Resource({"name": "web", "transitioningMessage": "pulling [bold]image"}))
    console = Console(file=io.StringIO(), width=100)
    console.print(progress)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "✓  db" in text
    assert "pulling [bold]image" in text
