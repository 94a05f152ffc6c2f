"""What most tests of the compose package do: load texts, and pretend that there are files."""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from drover.compose import ComposeError, ComposeProject, FileSource, SourceFile, load_project, plan_services
from drover.compose.references import Body

Load = Callable[..., ComposeProject]


@dataclass
class MemoryFiles:
    """A `FileSource` over a dict; remembers what was read."""

    files: Mapping[str, str | bytes]
    read_paths: list[str] = field(default_factory=list)

    def read(self, path: str) -> bytes:
        self.read_paths.append(path)
        if path not in self.files:
            raise FileNotFoundError(f"no such file: {path}")
        content = self.files[path]
        return content.encode() if isinstance(content, str) else content

    def absolute(self, path: str) -> str:
        return (
            path.replace("~", "/home/me") if path.startswith("~") else posixpath.normpath(posixpath.join("/srv", path))
        )


def load_texts(
    text: str,
    rancher: str = "",
    *,
    variables: Mapping[str, str] | None = None,
    source: FileSource | None = None,
    stack: str = "shop",
) -> ComposeProject:
    """One docker-compose text and, if given, one rancher-compose text."""
    return load_project(
        files=[SourceFile("docker-compose.yml", text)],
        rancher_files=[SourceFile("rancher-compose.yml", rancher)] if rancher else [],
        variables=variables or {},
        stack_name=stack,
        source=source,
    )


@pytest.fixture(scope="session")
def load() -> Load:
    """`load(text, rancher_text, variables=..., source=...)`."""
    return load_texts


@pytest.fixture(scope="session")
def errors_of() -> Callable[..., list[str]]:
    """The errors of files that must be refused, one text each, with file, line and column."""

    def errors(*args: Any, **kwargs: Any) -> list[str]:
        with pytest.raises(ComposeError) as caught:
            load_texts(*args, **kwargs)
        return [str(problem) for problem in caught.value.problems]

    return errors


@pytest.fixture(scope="session")
def body_of() -> Callable[..., Body]:
    """The API body of the first service of a text."""

    def body(*args: Any, **kwargs: Any) -> Body:
        return plan_services(load_texts(*args, **kwargs))[0].body

    return body


@pytest.fixture(scope="session")
def memory_files() -> type[MemoryFiles]:
    """A file source for the command line's side."""
    return MemoryFiles
