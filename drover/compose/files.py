"""The only door to the file system, and the rule that a server keeps it shut.

`env_file`, `extends.file`, `secrets.<name>.file`, local build folders and relative host paths are read or resolved by
the command line, next to the user's own files. The server must never open a path that a user wrote: in Rancher 1.6
anyone who could create a stack could read the server's files this way.
"""

import posixpath
from dataclasses import dataclass

from drover.compose.errors import Mark, Problems
from drover.compose.model import FileSource

#: The largest file that a compose file may pull in.
MAX_BYTES = 1024 * 1024
_HINT = "use the command line ('drover up') for stacks with local files, or write the content into the compose file"


@dataclass(frozen=True, slots=True)
class Files:
    """Reads through a `FileSource`, or refuses (server) when there is none."""

    source: FileSource | None

    def read(self, path: str, *, beside: str, mark: Mark, what: str, problems: Problems) -> bytes | None:
        """The content of `path`, which counts from the folder of `beside`; None after reporting a problem."""
        if self.source is None:
            problems.error(mark, f"{what} names a file, and the server reads no files", _HINT)
            return None
        try:
            content = self.source.read(relative(path, beside))
        except (OSError, ValueError) as error:
            problems.error(mark, f"{what} cannot be read: {error}", "check the path; it counts from the compose file")
            return None
        if len(content) > MAX_BYTES:
            problems.error(mark, f"{what} is larger than {MAX_BYTES // 1024} KiB")
            return None
        return content

    def read_text(self, path: str, *, beside: str, mark: Mark, what: str, problems: Problems) -> str | None:
        """Like `read`, for UTF-8 text."""
        content = self.read(path, beside=beside, mark=mark, what=what, problems=problems)
        if content is None:
            return None
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            problems.error(mark, f"{what} is not UTF-8 text")
            return None

    def host_path(self, path: str, *, beside: str, mark: Mark, what: str, problems: Problems) -> str:
        """An absolute path for one that begins with `.` or `~`; unchanged after reporting a problem."""
        if self.source is None:
            problems.error(
                mark,
                f"{what} is a path relative to your files, which the server does not have",
                "write an absolute path",
            )
            return path
        return self.source.absolute(path if path.startswith("~") else relative(path, beside))


def relative(path: str, beside: str) -> str:
    """`path` as seen from the folder of the file `beside`."""
    if path.startswith("~"):
        return path
    return posixpath.normpath(posixpath.join(posixpath.dirname(beside), path))
