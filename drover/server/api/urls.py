"""The URLs of an answer, absolute, below the version and project that the request named.

Path segments of types and links are lower-case whatever their spelling in JSON (Rancher 1.6; clients compare them).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode


@dataclass(frozen=True, slots=True)
class Urls:
    """``base`` is scheme, host and port; ``project`` the id of the project in the path, if it names one."""

    base: str
    version: str
    project: str | None = None

    @property
    def root(self) -> str:
        """The version without a project."""
        return f"{self.base}/{self.version}"

    @property
    def prefix(self) -> str:
        return f"{self.root}/projects/{self.project}" if self.project else self.root

    @property
    def schemas(self) -> str:
        return f"{self.prefix}/schemas"

    def collection(self, plural: str) -> str:
        return f"{self.prefix}/{plural.lower()}"

    def resource(self, plural: str, resource_id: str) -> str:
        return f"{self.prefix}/{plural.lower()}/{quote(resource_id, safe='!:')}"


def with_query(url: str, parameters: list[tuple[str, str]]) -> str:
    return f"{url}?{urlencode(parameters)}" if parameters else url
