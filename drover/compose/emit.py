"""Writing YAML that every reader of compose files understands alike.

Text that any of the usual readers (go-yaml, PyYAML, docker-compose) might take for something else - `y`, `22:22`,
`0o17`, a date - is quoted; text of several lines is written as a block.
"""

from typing import Any

import yaml

from drover.compose.yaml import resolve_scalar


class _Dumper(yaml.CSafeDumper):
    """A dumper of its own, so that its rules for text touch nobody else's."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\n" in text:
        style = "|"
    elif not isinstance(resolve_scalar(text), str):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def dump(document: dict[str, Any]) -> str:
    """Block-style YAML in the order of the maps, without aliases."""
    text = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=10**6
    )
    return str(text)
