"""The HTTP interface of Rancher 1.6's metadata service: paths, formats, errors."""

from __future__ import annotations

import pytest
import yaml

from drover.client.world import World
from drover.host.metadata.answers import Request
from tests.host.metadata.asking import WEB_1_IP, Asker
from tests.host.metadata.shop import OBJECTS, WEB_1


@pytest.fixture(scope="module")
def web() -> Asker:
    """Asked by the first container of the service Web; nothing is changed by these tests."""
    return Asker(client=WEB_1_IP)


def test_the_root_lists_the_versions(web: Asker) -> None:
    assert web.text("/") == "2015-07-25\n2015-12-19\n2016-07-29\nlatest\n"
    assert web.json("/")["latest"] == "/latest"
    assert web.json("/")["2015-12-19"] == "/2015-12-19"


def test_the_top_of_the_tree(web: Asker) -> None:
    assert web.text("/latest") == (
        "containers/\nenvironments\nhosts/\nname\nnetworks/\nregion_name\nself/\nservices/\nstacks/\nuuid\nversion\n"
    )
    assert "environments" not in web.text("/2015-12-19")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/latest/name", "default"),
        ("/latest/uuid", "env-1"),
        ("/latest/region_name", "north"),
        ("/latest/self/container/create_index", "1"),
        ("/latest/self/container/system", "false"),
        ("/latest/self/container/hostname", ""),
        ("/latest/self/service/metadata/ratio", "0.25"),
        ("/latest/self/service/metadata/enabled", "true"),
        ("/latest/self/service/metadata/nothing", ""),
        ("/latest/self/service/metadata/greeting", "hi <there> & you"),
        ("/latest/self/host/agent_ip", "192.0.2.1"),
    ],
)
def test_a_scalar_is_its_text_without_an_end_of_line(web: Asker, path: str, text: str) -> None:
    assert web.text(path) == text


def test_keys_are_escaped_and_deeper_ones_end_in_a_slash(web: Asker) -> None:
    assert web.text("/latest/self/service/metadata") == (
        "a%2Fb+c%3Ad\ncount\nenabled\ngreeting\nnothing\nratio\nusers/\n"
    )


def test_an_array_lists_index_and_name(web: Asker) -> None:
    assert web.text("/latest/self/service/metadata/users") == "0=ann\n1=u-2\n2/\n3/\n4\n"
    assert web.text("/latest/self/container/ports") == "0\n1\n2\n3\n"
    assert web.text("/latest/stacks") == "0=empty\n1=shop\n"


@pytest.mark.parametrize(
    "path",
    [
        "/latest/containers/1/name",
        "/latest/containers/shop-web-1/name",
        "/latest/containers/container-1/name",
        "/latest/stacks/shop/services/web/containers/shop-web-1/name",
        "/latest/stacks/Shop/services/Web/containers/0/name",
        "/latest/containers/1/name/",
        "/latest/self/service/containers/shop-web-1/name",
        "/latest/SELF/Container/NAME",
    ],
)
def test_the_ways_to_a_value(web: Asker, path: str) -> None:
    assert web.text(path) == "shop-web-1"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/latest/self/service/metadata/a%2Fb+c%3Ad", "escaped"),
        ("/latest/self/service/metadata/a%2fb%20c:d", "escaped"),
        ("/latest/self/service/links/shop%2Fdb", "DB"),
        ("/latest/self/service/links/other%2Fapi", "Api"),
        ("/latest/self/container/labels/Mixed", "Case"),
        ("/latest/self/service/metadata/users/ann/role", "admin"),
        ("/latest/self/service/metadata/users/u-2/uuid", "u-2"),
        ("/latest/self/service/metadata/users/3/0", "x"),
    ],
)
def test_keys_within_a_path(web: Asker, path: str, text: str) -> None:
    assert web.text(path) == text


@pytest.mark.parametrize(
    "path",
    [
        "/latest/nothing",
        "/latest/containers/99",
        "/latest/containers/-1",
        "/latest/containers/nobody",
        "/latest/name/deeper",
        "/latest/environments/deeper",
        "/latest/environments/0",
        "/latest/self/container/labels/mixed",
        "/favicon.ico",
        "/favicon.ico/",
    ],
)
def test_a_path_that_leads_nowhere(web: Asker, path: str) -> None:
    assert web.error(path) == (404, "Not found\n")


def test_errors_come_in_the_format_asked_for(web: Asker) -> None:
    assert web.error("/2014-01-01/name") == (404, "Invalid version\n")
    assert web.error("/latest/no", accept="application/json") == (
        404,
        '{"code":404,"message":"Not found","type":"error"}\n',
    )
    status, body = web.error("/latest/no", accept="text/yaml")
    assert (status, yaml.safe_load(body)) == (404, {"code": 404, "message": "Not found", "type": "error"})
    status, body = web.error("/latest/%zz")
    assert (status, body) == (400, 'invalid URL escape "%zz"\n')


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_find_nothing(web: Asker, method: str) -> None:
    assert web.error("/latest/name", method=method) == (404, "Not found\n")


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("//latest", "/latest"),
        ("/latest//name?wait=true", "/latest/name?wait=true"),
        ("/latest/x/../name", "/latest/name"),
        ("/../../latest/", "/latest/"),
        ("/latest/./name", "/latest/name"),
        ("/..", "/"),
    ],
)
def test_a_path_with_detours_is_sent_to_the_straight_one(web: Asker, target: str, location: str) -> None:
    answer = web.answer(target)
    assert (answer.status, answer.location) == (301, location)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/plain; charset=utf-8"),
        ("image/png", "text/plain; charset=utf-8"),
        ("application/json", "application/json"),
        ("APPLICATION/JSON; charset=utf-8", "application/json"),
        ("application/*", "application/json"),
        ("text/*, application/json", "application/json"),
        ("text/plain;q=0.5, application/json;q=0.4", "text/plain; charset=utf-8"),
        ("text/plain;q=0.2, application/json;q=0.4", "application/json"),
        ("text/plain;q=0, */*", "application/json"),
        ("application/yaml", "application/yaml"),
        ("text/x-yaml", "application/yaml"),
        ("application/json;q=high", "text/plain; charset=utf-8"),
    ],
)
def test_the_format_is_negotiated(web: Asker, accept: str, content_type: str) -> None:
    assert web.answer("/latest/self", accept=accept).content_type == content_type


def test_json_has_sorted_keys_and_no_html(web: Asker) -> None:
    body = b"".join(web.answer("/latest/self/service/metadata", accept="application/json").body)
    assert body.startswith(
        b'{"a/b c:d":"escaped","count":3,"enabled":true,"greeting":"hi \\u003cthere\\u003e \\u0026 you"'
    )
    assert not body.endswith(b"\n")


def test_yaml_says_the_same_as_json(web: Asker) -> None:
    for path in ("/latest", "/latest/name", "/latest/region_name", "/latest/containers", "/latest/self/container/dns"):
        document = yaml.safe_load(b"".join(web.answer(path, accept="application/yaml").body))
        assert document == web.json(path)


def test_a_known_tag_needs_no_body(web: Asker) -> None:
    first = web.answer("/latest/self", accept="application/json")
    again = web.answer("/latest/self", accept="application/json", tag=f'"other", {first.etag}')
    assert (again.status, again.body, again.etag) == (304, (), first.etag)
    assert web.answer("/latest/self", tag=first.etag).status == 200


def test_five_empty_collections_are_null() -> None:
    asker = Asker(World())
    asker.change(*(each for each in OBJECTS if each.key == "env-1"))
    assert asker.json("/latest") == {
        "containers": None,
        "environments": None,
        "hosts": None,
        "name": "default",
        "networks": [],
        "region_name": "north",
        "self": {"host": None},
        "services": None,
        "stacks": None,
        "uuid": "env-1",
        "version": asker.publication.version,
    }
    assert asker.text("/latest") == (
        "containers\nenvironments\nhosts\nname\nnetworks/\nregion_name\nself/\nservices\nstacks\nuuid\nversion\n"
    )
    assert asker.text("/latest/containers") == ""
    shop = Asker()
    assert shop.json("/latest/stacks/empty/services") is None
    assert shop.json("/latest/services/db/containers") is None
    assert shop.json("/2015-07-25/services/Db/containers") is None


def test_before_anything_is_known() -> None:
    asker = Asker(World())
    assert asker.error("/latest") == (404, "Not found\n")
    assert asker.error("/latest/version") == (404, "Not found\n")
    assert asker.error("/2016-07-29/version") == (404, "Invalid version\n")
    assert asker.json("/") == {}


def test_what_waits(web: Asker) -> None:
    version = web.publication.version
    known = f"/latest/version?wait=true&value={version}"

    def seconds(target: str) -> float | None:
        path, _, query = target.partition("?")
        wait = web.answers.wait(Request("GET", path, query, WEB_1_IP))
        return None if wait is None else wait.seconds

    assert seconds(known) == 60
    assert seconds(f"{known}&maxWait=5") == 5
    assert seconds(f"{known}&maxWait=500") == 120
    assert seconds(f"{known}&maxWait=0") == 60
    assert seconds(f"{known}&maxWait=soon") == 60
    assert seconds(f"{known}&maxWait=-1") == 60
    assert seconds("/latest/version?wait=true&value=init") is None
    assert seconds("/latest/version?wait=true") is None
    assert seconds(f"/latest/version?value={version}") is None
    assert seconds(f"/latest/version?wait=yes&value={version}") is None
    assert seconds("/latest/nothing?wait=true&value=x") == 60
    assert seconds("/latest/environments?wait=true&value=%3Cnil%3E") == 60
    assert seconds("/latest/environments?wait=true&value=") is None
    assert seconds("/latest/self/container/name?wait=true&value=shop-web-1") == 60
    assert seconds("/latest/%zz?wait=true&value=") is None


def test_names_are_of_the_first_in_order() -> None:
    """Two stacks may have a service of the same name; the short path always leads to the same one."""
    asker = Asker()
    other = [each for each in OBJECTS if each.key != WEB_1.key]
    asker.change(*other, *(WEB_1,))
    assert asker.json("/latest/services/web")["uuid"] == "service-1"
