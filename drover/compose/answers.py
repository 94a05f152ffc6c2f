"""Variables from a file, and the questions that ask for the rest: what the command line needs before it loads."""

from drover.compose import sections, yaml
from drover.compose.envfile import parse
from drover.compose.errors import ComposeError, Invalid, Problem, Problems
from drover.compose.model import Question, SourceFile
from drover.compose.nodes import Scalar, scalar_text


def read_answers(file: SourceFile) -> dict[str, str]:
    """The variables of a file: a map of scalars in `.yml`, `.yaml` and `.json`, else lines of `KEY=VALUE`.

    Raises `ComposeError` for a file that is not such a map.
    """
    if not file.path.lower().endswith((".yml", ".yaml", ".json")):
        return {name: value for name, value in parse(file.text).items() if value is not None}
    problems = Problems()
    found: dict[str, str] = {}
    try:
        for entry in yaml.parse(file.text, file=file.path, problems=problems):
            if not isinstance(entry.value, Scalar):
                problems.error(entry.mark, f"the value of '{entry.key}' must be a single value", "quote it")
            elif entry.value.value is not None:
                found[entry.key] = scalar_text(entry.value.value)
    except Invalid as invalid:
        problems.add(invalid)
    problems.raise_errors()
    return found


def read_questions(file: SourceFile) -> tuple[Question, ...]:
    """The questions of the catalog section of a compose file.

    Raises `ComposeError` when the text is no YAML before its templates are rendered.
    """
    problems = Problems()
    try:
        root = yaml.parse(file.text, file=file.path, problems=problems)
        return sections.split(root, file=file.path, problems=problems).questions
    except Invalid as invalid:
        raise ComposeError([Problem(invalid.message, invalid.mark, invalid.suggestion)]) from None
