"""Files of environment variables, named by `env_file`.

What `environment` says beats every file, and of two files the later one counts. Values are taken as they are: no
quotes, no interpolation (as in Rancher 1.6).
"""

from collections.abc import Mapping

from drover.compose.errors import Problems
from drover.compose.files import Files
from drover.compose.merge import Draft, Setting


def parse(text: str) -> dict[str, str | None]:
    """`KEY=VALUE` lines; None for a bare `KEY`. Empty lines and lines beginning with `#` are skipped."""
    found: dict[str, str | None] = {}
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        found[name.strip()] = value if equals else None
    return found


def apply(draft: Draft, *, file: str, files: Files, variables: Mapping[str, str], problems: Problems) -> Draft:
    """The service with the variables of its files in `environment`; paths count from the folder of `file`."""
    setting = draft.settings.get("env_file")
    if setting is None:
        return draft
    settings = {key: value for key, value in draft.settings.items() if key != "env_file"}
    environment: dict[str, str] = {}
    for path in setting.value:
        what = f"Service '{draft.name}': env_file '{path}'"
        text = files.read_text(path, beside=file, mark=setting.mark, what=what, problems=problems)
        for name, value in parse(text or "").items():
            given = variables.get(name) if value is None else value
            if given is not None:
                environment[name] = given
    written = draft.settings.get("environment")
    settings["environment"] = Setting({**environment, **(written.value if written else {})}, setting.mark)
    return Draft(draft.name, draft.mark, settings)
