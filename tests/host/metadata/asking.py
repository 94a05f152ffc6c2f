"""Asking the metadata service's answers without a socket."""

from __future__ import annotations

from typing import Any

import msgspec

from drover.client.world import Object, World
from drover.host.metadata.answers import Answer, Answers, Request
from drover.host.metadata.publication import Publication
from tests.host.metadata.shop import full, shop_world

WEB_1_IP = "10.42.0.11"
WEB_2_IP = "10.42.0.12"
ALONE_IP = "10.42.0.14"
NOBODY_IP = "172.17.0.1"


class Asker:
    """A client at one address."""

    def __init__(self, world: World | None = None, client: str = NOBODY_IP) -> None:
        self.world = shop_world() if world is None else world
        self.publication = Publication(self.world)
        self.answers = Answers(self.publication)
        self.client = client

    def change(self, *objects: Object) -> None:
        """The environment consists of these objects now."""
        self.publication.apply(self.world.apply(full(*objects, revision=self.world.revision + 1)))

    def answer(self, target: str, *, accept: str = "", method: str = "GET", client: str = "", tag: str = "") -> Answer:
        path, _, query = target.partition("?")
        request = Request(method, path, query, client or self.client, accept=accept, if_none_match=tag)
        return self.answers.answer(request)

    def text(self, target: str, *, client: str = "") -> str:
        answer = self.answer(target, client=client)
        assert answer.status == 200, b"".join(answer.body)
        assert answer.content_type.startswith("text/plain")
        return b"".join(answer.body).decode()

    def json(self, target: str, *, client: str = "") -> Any:
        answer = self.answer(target, accept="application/json", client=client)
        assert answer.status == 200, b"".join(answer.body)
        assert answer.content_type == "application/json"
        return msgspec.json.decode(b"".join(answer.body))

    def error(self, target: str, *, accept: str = "", method: str = "GET") -> tuple[int, str]:
        answer = self.answer(target, accept=accept, method=method)
        assert answer.status >= 400
        return answer.status, b"".join(answer.body).decode()
