"""The step before YAML: text templates.

Files may ask to be left alone with `#notemplating` in their first line. All others go through the template engine; a
file that needs it is refused here with the place of its first action, instead of failing later with a YAML error that
names neither.
"""

import re

from drover.compose.errors import Invalid, Mark

_MARKER = re.compile(r"# ?notemplating\b")


def render(text: str, *, file: str) -> str:
    """The text with templates applied. Raises `Invalid` at the first `{{` of a file without the marker."""
    if "{{" not in text or _MARKER.match(text.lstrip()):
        return text
    before = text[: text.index("{{")]
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    raise Invalid(
        Mark(file, line, column),
        "templates ({{ ... }}) are not supported yet",
        "begin the file with '#notemplating' if the braces are meant literally",
    )
