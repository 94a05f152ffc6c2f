import pytest

from drover.client.errors import ClientError
from drover.client.urls import parse_address, plural, segment, with_query


@pytest.mark.parametrize(
    ("given", "api", "project"),
    [
        ("http://h:8080", "http://h:8080/v2-beta", None),
        ("h:8080", "http://h:8080/v2-beta", None),
        ("http://h/", "http://h/v2-beta", None),
        ("http://h/v1", "http://h/v2-beta", None),
        ("https://h/v2-beta/schemas", "https://h/v2-beta", None),
        ("https://h/v2-beta/projects/1a5/schemas", "https://h/v2-beta", "1a5"),
        ("https://h/drover/v2-beta/projects/1a7", "https://h/drover/v2-beta", "1a7"),
        ("https://h/drover", "https://h/drover/v2-beta", None),
        ("https://user:pw@h/v1", "https://h/v2-beta", None),
    ],
)
def test_any_address_names_the_api(given: str, api: str, project: str | None) -> None:
    address = parse_address(given)
    assert (address.api, address.project) == (api, project)


@pytest.mark.parametrize("bad", ["", "ftp://h", "http://", "file:///etc/passwd"])
def test_other_addresses_are_refused(bad: str) -> None:
    with pytest.raises(ClientError, match="no server address"):
        parse_address(bad)


def test_links_come_back_on_the_address_given() -> None:
    address = parse_address("https://public/drover")
    link = "http://10.0.0.1:8080/v2-beta/projects/1a5/services/1s7/?action=activate"
    assert address.rebase(link) == "https://public/drover/v2-beta/projects/1a5/services/1s7/?action=activate"


def test_links_outside_the_api_are_refused() -> None:
    with pytest.raises(ClientError, match="outside its API"):
        parse_address("http://h").rebase("http://h/steal?x=/v1")


@pytest.mark.parametrize(
    ("type_name", "expected"),
    [
        ("service", "services"),
        ("services", "services"),
        ("loadBalancerService", "loadbalancerservices"),
        ("registry", "registries"),
        ("identity", "identities"),
        ("ipAddress", "ipaddresses"),
        ("configItemStatus", "configitemstatuses"),
        ("serviceIndex", "serviceindexes"),
        ("hostAccess", "hostaccesses"),
        ("processSummary", "processsummary"),
        ("subscribe", "subscribe"),
    ],
)
def test_plural_names(type_name: str, expected: str) -> None:
    assert plural(type_name) == expected


@pytest.mark.parametrize("text", ["../1a1", "a?b", "a/b", "a#b"])
def test_an_id_stays_one_path_segment(text: str) -> None:
    assert not set("/?#") & set(segment(text))


def test_dots_are_no_id() -> None:
    with pytest.raises(ClientError, match="no id"):
        segment("..")


def test_parameters_are_appended() -> None:
    assert with_query("http://h/x", [("a", "1 2")]) == "http://h/x?a=1+2"
    assert with_query("http://h/x?y=1", [("a", "2"), ("a", "3")]) == "http://h/x?y=1&a=2&a=3"
