"""The API browser: pages for people, at the same URLs."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest
from starlette.applications import Starlette

from tests.server.api.client import Answer, ApiClient

pytestmark = pytest.mark.anyio

ACCEPT = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture
def browser(app: Starlette) -> ApiClient:
    headers = {"user-agent": "Mozilla/5.0", "accept": ACCEPT, "cookie": "CSRF=0123456789"}
    return ApiClient(app, "/v2-beta/projects/1a5", headers)


async def submit(browser: ApiClient, url: str, csrf: str = "0123456789", **fields: str) -> Answer:
    raw = urlencode({"CSRF": csrf, "_form": "1", **fields}).encode()
    return await browser.request("POST", url, raw=raw, headers={"content-type": "application/x-www-form-urlencoded"})


async def test_who_gets_a_page(owner: ApiClient, browser: ApiClient) -> None:
    assert (await browser.get("stacks")).headers["content-type"].startswith("text/html")
    assert (await owner.get("stacks", query={"_format": "html"})).headers["content-type"].startswith("text/html")
    for headers in ({"accept": "application/json"}, {"accept": "*/*"}):
        answer = await browser.get("stacks", headers=headers)
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert (await browser.get("stacks", query={"_format": "json"})).json["type"] == "collection"
    refused = await browser.get("stacks/1st99")
    assert refused.status == 404
    assert b"Not Found" in refused.content


async def test_pages_run_no_script_and_escape_everything(owner: ApiClient, browser: ApiClient) -> None:
    evil = "</pre><script>alert(1)</script>"
    made = await owner.post("stacks", {"name": "evil", "description": evil})
    for url in ("stacks", made.json["links"]["self"], "stacks?name=%22%3E%3Cscript%3E"):
        page = await browser.get(url)
        assert "script-src" not in page.headers["content-security-policy"]
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert b"<script" not in page.content
        assert b"style=" not in page.content
    assert (await browser.get("/api-ui/browser.css")).status == 200
    assert (await browser.get("/api-ui/../pages.py")).status == 404


async def test_forms_create_change_and_remove(browser: ApiClient, owner: ApiClient) -> None:
    page = (await browser.get("stacks")).content.decode()
    assert 'name="CSRF" value="0123456789"' in page
    action = re.search(r'<form method="post" action="([^"]+)"', page)
    assert action is not None
    made = await submit(browser, action[1], name="formed", environment="A=1\nB=x=y", startOnCreate="true")
    assert made.status == 303, made.content
    stack = (await owner.get(made.headers["location"])).json
    assert (stack["name"], stack["environment"]) == ("formed", {"A": "1", "B": "x=y"})
    assert b"description" in (await browser.get(made.headers["location"])).content
    changed = await submit(browser, f"{made.headers['location']}?_method=PUT", description="by form")
    assert changed.status == 303
    assert (await owner.get(made.headers["location"])).json["description"] == "by form"
    wrong = await submit(browser, "containers", imageUuid="nginx", healthCheck="{")
    assert wrong.status == 422
    assert b"healthCheck must be JSON" in wrong.content


async def test_a_browser_must_repeat_its_cookie(browser: ApiClient) -> None:
    stolen = await submit(browser, "stacks", csrf="FFFFFFFFFF", name="stolen")
    assert stolen.status == 403
    script = await browser.post("stacks", {"name": "x"}, headers={"accept": "application/json"})
    assert (script.status, script.json["code"]) == (403, "InvalidCSRFToken")
    own = await browser.post(
        "stacks", {"name": "x"}, headers={"accept": "application/json", "x-api-csrf": "0123456789"}
    )
    assert own.status == 201
