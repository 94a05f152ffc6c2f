"""What can be wrong with a compose file, and where.

A user who has three mistakes in a file should see three lines, each with the place and a way out, not one line
after each of three attempts. So every stage reports into a `Problems` collector and goes on; `ComposeError` is
raised once, at the end of a stage after which going on would make no sense.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import msgspec

from drover.common.errors import DroverError


class Mark(msgspec.Struct, frozen=True, order=True):
    """A place in a source file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Severity(Enum):
    """Whether a problem stops the operation."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `mark` is None when it belongs to no single place; `suggestion` says what to do, if known."""

    message: str
    mark: Mark | None = None
    suggestion: str = ""
    severity: Severity = Severity.ERROR

    @property
    def file(self) -> str:
        """Name of the file, empty when the problem belongs to none."""
        return self.mark.file if self.mark else ""

    @property
    def line(self) -> int:
        """Line from 1, or 0 when unknown."""
        return self.mark.line if self.mark else 0

    @property
    def column(self) -> int:
        """Column from 1, or 0 when unknown."""
        return self.mark.column if self.mark else 0

    def __str__(self) -> str:
        place = f"{self.mark}: " if self.mark else ""
        advice = f" ({self.suggestion})" if self.suggestion else ""
        return f"{place}{self.message}{advice}"


class ComposeError(DroverError):
    """The files cannot be used. `problems` holds every error found in this run, in the order of the files."""

    code = "InvalidComposeFile"
    status = 422

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Invalid(Exception):
    """A decoder cannot make sense of a value. Caught where the key is known, and turned into a `Problem`."""

    def __init__(self, mark: Mark | None, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message
        self.suggestion = suggestion


class AlreadyReported(Invalid):
    """Parts of a value were refused and reported one by one; the whole is dropped without a further word."""

    def __init__(self, mark: Mark) -> None:
        super().__init__(mark, "")


class Problems:
    """Collects findings of all stages of one load. A finding at one place with one text counts once."""

    #: A hostile file must not make the answer larger than itself.
    LIMIT = 200

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self._files: dict[str, int] = {}
        self._has_error = False

    def register(self, file: str) -> None:
        """Make known that a file takes part; findings are sorted in the order of this."""
        self._files.setdefault(file, len(self._files))

    def error(self, mark: Mark | None, message: str, suggestion: str = "") -> None:
        """Note something that must stop the operation."""
        self._add(Problem(message, mark, suggestion))

    def warn(self, mark: Mark | None, message: str, suggestion: str = "") -> None:
        """Note something the user should know, but that stops nothing."""
        self._add(Problem(message, mark, suggestion, Severity.WARNING))

    def add(self, invalid: Invalid) -> None:
        """Note what a decoder refused."""
        if not isinstance(invalid, AlreadyReported):
            self.error(invalid.mark, invalid.message, invalid.suggestion)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """All errors so far, in the order of the files and of their lines."""
        return self._sorted(Severity.ERROR)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """All warnings so far, in the same order."""
        return self._sorted(Severity.WARNING)

    @property
    def full(self) -> bool:
        """Whether no further finding is kept, so that none needs to be worked out."""
        return len(self._found) >= self.LIMIT

    def raise_errors(self) -> None:
        """Raise `ComposeError` with all errors so far, if there are any."""
        if errors := self.errors:
            raise ComposeError(errors)

    def _sorted(self, severity: Severity) -> tuple[Problem, ...]:
        chosen = (problem for problem in self._found if problem.severity is severity)
        unknown = len(self._files)
        return tuple(sorted(chosen, key=lambda p: (self._files.get(p.file, unknown), p.line, p.column)))

    def _add(self, problem: Problem) -> None:
        is_error = problem.severity is Severity.ERROR
        if not self.full or (is_error and not self._has_error):
            self._found[problem] = None
            self._has_error = self._has_error or is_error
