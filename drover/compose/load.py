"""From the texts of compose files to one validated `ComposeProject`.

For each file: templates, YAML, sections, variables, types, `env_file`, `extends`. Then the files are merged in their
order (rancher-compose.yml last) and checked as a whole. Nothing is created or looked up before all of that succeeded.
"""

import posixpath
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any

from drover.compose import envfile, sections, values, yaml
from drover.compose.check import Checker
from drover.compose.errors import Invalid, Mark, Problems
from drover.compose.extends import Resolver
from drover.compose.files import Files
from drover.compose.interpolate import Interpolator
from drover.compose.merge import Draft, Setting, merge
from drover.compose.model import (
    Build,
    ComposeProject,
    FileSource,
    HostDefinition,
    SecretDefinition,
    Service,
    SourceFile,
    VolumeTemplate,
)
from drover.compose.nodes import Entry, is_null
from drover.compose.render import render
from drover.compose.schema import decode_service
from drover.compose.sections import Sections
from drover.compose.toplevel import decode_host, decode_secret, decode_volume
from drover.compose.urls import is_remote_context


def load_project(
    *,
    files: Sequence[SourceFile],
    rancher_files: Sequence[SourceFile],
    variables: Mapping[str, str],
    stack_name: str,
    source: FileSource | None,
) -> ComposeProject:
    """Parse, validate and merge the files of one stack.

    `files` are the docker-compose files in order, `rancher_files` the rancher-compose files. `variables` answers
    `$NAME`; a question of the catalog section answers with its default what `variables` does not have.

    With `source=None` (server) everything that needs the user's own files is refused.

    Raises `ComposeError` with every problem found.
    """
    return _Loader(variables, source).load(files, rancher_files, stack_name)


class _Loader:
    """State of one load: the problems, the variables, and how much text they made."""

    def __init__(self, variables: Mapping[str, str], source: FileSource | None) -> None:
        self._problems = Problems()
        self._files = Files(source)
        self._defaults: dict[str, str] = {}
        self._variables: Mapping[str, str] = ChainMap(dict(variables), self._defaults)
        self._interpolator = Interpolator(self._variables, self._problems)
        self._opened: dict[str, dict[str, Draft]] = {}
        self._resolver = Resolver(self._open_base_file, self._problems)

    def load(self, files: Sequence[SourceFile], rancher_files: Sequence[SourceFile], stack_name: str) -> ComposeProject:
        parsed = [self._parse(file) for file in (*files, *rancher_files)]
        self._problems.raise_errors()
        self._take_question_defaults(parsed)
        per_file = [self._services(one) for one in parsed if one]
        services = self._merge(per_file, rancher_only=len(files))
        base = files[0].path if files else rancher_files[0].path if rancher_files else ""
        services = {name: self._resolve_volumes(draft, base) for name, draft in services.items()}
        checker = Checker(services, self._problems)
        checker.run()
        volumes = self._top_level(parsed, "volumes")
        secrets = self._top_level(parsed, "secrets")
        hosts = self._top_level(parsed, "hosts")
        self._problems.raise_errors()
        return ComposeProject(
            name=stack_name,
            services={name: _freeze(draft) for name, draft in services.items()},
            primary_of=checker.primary_of,
            volumes=volumes,
            secrets=secrets,
            hosts=hosts,
            questions=tuple(question for one in parsed if one for question in one.questions),
            warnings=self._problems.warnings,
        )

    def _parse(self, file: SourceFile) -> Sections | None:
        self._problems.register(file.path)
        try:
            text = render(file.text, file=file.path)
            root = yaml.parse(text, file=file.path, problems=self._problems)
            return sections.split(root, file=file.path, problems=self._problems)
        except Invalid as invalid:
            self._problems.add(invalid)
            return None

    def _take_question_defaults(self, parsed: Sequence[Sections | None]) -> None:
        for one in parsed:
            for question in one.questions if one else ():
                if question.default is not None:
                    self._defaults.setdefault(question.variable, question.default)

    def _services(self, one: Sections) -> dict[str, Draft]:
        """All services of one file, with variables, env files and bases."""
        drafts = self._drafts(one)
        return {name: self._resolver.resolve(draft, file=one.file, siblings=drafts) for name, draft in drafts.items()}

    def _drafts(self, one: Sections) -> dict[str, Draft]:
        drafts = {}
        for entry in one.services.values():
            interpolated = Entry(entry.key, self._interpolator.node(entry.value, entry.key), entry.mark)
            draft = decode_service(
                interpolated, dialect=one.dialect, variables=self._variables, problems=self._problems
            )
            if draft is None:
                continue
            draft = envfile.apply(
                draft, file=one.file, files=self._files, variables=self._variables, problems=self._problems
            )
            drafts[entry.key] = self._resolve_build(draft, one.file)
        return drafts

    def _open_base_file(self, path: str, mark: Mark) -> dict[str, Draft] | None:
        """The services of a file named by `extends`."""
        path = posixpath.normpath(path)
        if path in self._opened:
            return self._opened[path]
        what = f"extends: file '{path}'"
        text = self._files.read_text(path, beside="", mark=mark, what=what, problems=self._problems)
        parsed = None if text is None else self._parse(SourceFile(path, text))
        if parsed is None:
            return None
        self._opened[path] = self._drafts(parsed)
        return self._opened[path]

    def _merge(self, per_file: Sequence[dict[str, Draft]], *, rancher_only: int) -> dict[str, Draft]:
        merged: dict[str, Draft] = {}
        for index, drafts in enumerate(per_file):
            for name, draft in drafts.items():
                if name in merged:
                    merged[name] = merge(merged[name], draft)
                elif index >= rancher_only and rancher_only and _describes_nothing(draft):
                    self._problems.warn(
                        draft.mark,
                        f"the service '{name}' stands only in the rancher-compose file and is ignored",
                        "give it an image, or correct its name",
                    )
                else:
                    merged[name] = draft
        return merged

    def _resolve_build(self, draft: Draft, file: str) -> Draft:
        setting = draft.settings.get("build")
        build: Build | None = setting.value if setting else None
        if setting is None or build is None or build.context is None or is_remote_context(build.context):
            return draft
        if self._files.source is None:
            self._problems.error(
                setting.mark,
                f"Service '{draft.name}': Build not supported from the local folder '{build.context}' on the server",
                "use an image, or a git or http URL as context",
            )
            return draft
        what = f"Service '{draft.name}': build context '{build.context}'"
        path = self._files.host_path(build.context, beside=file, mark=setting.mark, what=what, problems=self._problems)
        resolved = Setting(Build(context=path, dockerfile=build.dockerfile, args=build.args), setting.mark)
        return Draft(draft.name, draft.mark, {**draft.settings, "build": resolved})

    def _resolve_volumes(self, draft: Draft, base: str) -> Draft:
        """Volumes with absolute host paths. They count from the first file, wherever they are written."""
        setting = draft.settings.get("volumes")
        if setting is None or not any(volume[:1] in ("~", ".") for volume in setting.value):
            return draft
        resolved = []
        for volume in setting.value:
            host, colon, rest = volume.partition(":")
            if host[:1] in ("~", ".") and colon:
                what = f"Service '{draft.name}': the volume '{host}'"
                host = self._files.host_path(host, beside=base, mark=setting.mark, what=what, problems=self._problems)
            resolved.append(f"{host}{colon}{rest}")
        return Draft(draft.name, draft.mark, {**draft.settings, "volumes": Setting(tuple(resolved), setting.mark)})

    def _top_level(self, parsed: Sequence[Sections | None], section: str) -> dict[str, Any]:
        found: dict[str, VolumeTemplate | SecretDefinition | HostDefinition] = {}
        for one in parsed:
            entries: dict[str, Entry] = getattr(one, section) if one else {}
            for name, entry in entries.items():
                if name in found and is_null(entry.value):
                    continue
                try:
                    found[name] = self._definition(section, entry, one.file if one else "")
                except Invalid as invalid:
                    self._problems.add(invalid)
        return found

    def _definition(self, section: str, entry: Entry, file: str) -> VolumeTemplate | SecretDefinition | HostDefinition:
        if section == "volumes":
            value = self._interpolator.node(entry.value, entry.key)
            return decode_volume(Entry(entry.key, value, entry.mark), self._field(entry))
        if section == "secrets":
            return decode_secret(entry, self._field(entry), file=file, files=self._files)
        return decode_host(entry, self._field(entry))

    def _field(self, entry: Entry) -> values.Field:
        return values.Field(entry.key, entry.key, self._problems, self._variables)


def _describes_nothing(draft: Draft) -> bool:
    """Whether a service of a rancher-compose file has no body of its own: a leftover of a renamed service."""
    return not any(
        draft.value(key)
        for key in ("image", "build", "lb_config", "storage_driver", "network_driver", "external_ips", "extends")
    )


def _freeze(draft: Draft) -> Service:
    return Service(name=draft.name, mark=draft.mark, **{key: s.value for key, s in draft.settings.items()})
