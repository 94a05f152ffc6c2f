"""`extends`: a service that takes what it does not set from a base service, in its own file or in another one."""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from drover.compose.errors import Mark, Problems
from drover.compose.files import relative
from drover.compose.merge import Draft, Setting, extend
from drover.compose.model import Extends

#: Chains of files may be spelt differently for ever (links between folders); no real file needs this many.
MAX_CHAIN = 32
_NOT_INHERITED = ("links", "volumes_from")

#: Opens a file: its services by name, or None after reporting why not.
OpenFile: TypeAlias = Callable[[str, Mark], "dict[str, Draft] | None"]


@dataclass(slots=True)
class Resolver:
    """Resolves `extends` of all services; remembers what is done, and finds circles."""

    open_file: OpenFile
    problems: Problems
    _done: dict[tuple[str, str], Draft] = field(default_factory=dict, init=False)
    _chain: list[tuple[str, str]] = field(default_factory=list, init=False)

    def resolve(self, draft: Draft, *, file: str, siblings: dict[str, Draft]) -> Draft:
        """The service of `file` with all its bases merged in. After a reported problem, the service without them."""
        place = (posixpath.normpath(file), draft.name)
        if place in self._done:
            return self._done[place]
        setting = draft.settings.get("extends")
        if setting is None:
            self._done[place] = draft
            return draft
        own = Draft(draft.name, draft.mark, {k: s for k, s in draft.settings.items() if k != "extends"})
        if place in self._chain or len(self._chain) >= MAX_CHAIN:
            circle = " -> ".join(name for _, name in [*self._chain, place][-8:])
            self.problems.error(
                setting.mark,
                f"'extends' goes in a circle, or has more than {MAX_CHAIN} steps: {circle}",
                "remove one of these 'extends'",
            )
            return own
        self._chain.append(place)
        try:
            base = self._base(setting, draft, file, siblings)
        finally:
            self._chain.pop()
        result = extend(base, own) if base else own
        self._done[place] = result
        return result

    def _base(self, setting: Setting, draft: Draft, file: str, siblings: dict[str, Draft]) -> Draft | None:
        wanted: Extends = setting.value
        there, where = file, ""
        if wanted.file is not None and relative(wanted.file, file) != posixpath.normpath(file):
            there, where = relative(wanted.file, file), f" in file {wanted.file}"
            opened = self.open_file(there, setting.mark)
            if opened is None:
                return None
            siblings = opened
        base = siblings.get(wanted.service)
        if base is None:
            self.problems.error(
                setting.mark, f"Failed to find service {wanted.service} to extend{where}", "check its name"
            )
            return None
        resolved = self.resolve(base, file=there, siblings=siblings)
        for key in _NOT_INHERITED:
            if resolved.value(key):
                self.problems.error(
                    setting.mark,
                    f"Cannot extend service '{wanted.service}' in {there}: services with '{key}' cannot be extended",
                    f"move '{key}' from '{wanted.service}' to '{draft.name}'",
                )
                return None
        return resolved
