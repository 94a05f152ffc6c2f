from __future__ import annotations

from typing import Any

import pytest

from tests.server.api.auth.conftest import PROJECT, Server, member
from tests.server.api.client import ApiClient

pytestmark = pytest.mark.anyio


async def make_member(server: Server, name: str, role: str) -> ApiClient:
    """A person with a role in 1a5, logged in."""
    account_id = await server.person(name)
    admin = await server.admin()
    present = (await admin.get("projects/1a5/projectmembers")).json["data"]
    wanted = [member(each["externalId"], each["role"]) for each in present] + [member(account_id, role)]
    assert (await admin.post("projects/1a5?action=setmembers", {"members": wanted})).status == 200
    return await server.login(name, "correct horse")


async def test_the_first_project_belongs_to_the_administrator(server: Server) -> None:
    admin = await server.admin()
    (project,) = (await admin.get("projects")).json["data"]
    assert (project["id"], project["name"], project["uuid"]) == ("1a5", "Default", "adminProject")
    (owner,) = (await admin.get("projects/1a5/projectmembers")).json["data"]
    assert (owner["externalId"], owner["externalIdType"], owner["role"]) == ("1", "rancher_id", "owner")


async def test_whoever_creates_a_project_owns_it(server: Server) -> None:
    await server.person("ann")
    ann = await server.login("ann", "correct horse")
    created = await ann.post("projects", {"name": "shop", "description": "web shop"})
    assert (created.status, created.json["state"]) == (201, "registering")
    assert created.json["servicesPortRange"]["startPort"] == 49153
    await server.settled("account", created.json["id"])
    path = f"projects/{created.json['id']}"
    shown = (await ann.get(path)).json
    assert {"update", "deactivate", "setmembers"} <= set(shown["actions"])
    changed = await ann.put(path, {"name": "shop 2"})
    assert (changed.status, changed.json["name"]) == (200, "shop 2")
    assert (await ann.post(f"/v2-beta/{path}/apikeys")).status == 201


async def test_members_are_given_as_a_whole_and_keep_an_owner(server: Server) -> None:
    account_id = await server.person("bea")
    admin = await server.admin()

    async def set_members(*members: dict[str, Any]) -> tuple[int, Any]:
        answer = await admin.post("projects/1a5?action=setmembers", {"members": list(members)})
        return answer.status, answer.json.get("code")

    assert await set_members(member(account_id, "member")) == (400, "InvalidFormat")
    assert await set_members(member("1a999", "owner")) == (404, "identityNotFound")
    assert (await set_members({"externalId": "", "externalIdType": "rancher_id", "role": "owner"}))[0] == 400
    assert await set_members(member("1a1", "owner"), member(account_id, "readonly")) == (200, None)
    rows = (await admin.get("projects/1a5/projectmembers")).json["data"]
    assert {(each["externalId"], each["role"]) for each in rows} == {("1", "owner"), (account_id[2:], "readonly")}
    without = await admin.post("projects", {"name": "x", "members": [member(account_id, "member")]})
    assert (without.status, without.json["code"]) == (400, "InvalidFormat")


@pytest.mark.parametrize("role", ["member", "restricted", "readonly"])
async def test_only_owners_change_a_project_its_members_or_its_life(server: Server, role: str) -> None:
    person = await make_member(server, "cid", role)
    mine = (await person.get("projects/1a5")).json
    assert not {"setmembers", "remove", "deactivate", "update"} & set(mine["actions"])
    assert (await person.put("projects/1a5", {"name": "mine now"})).status == 403
    assert (await person.delete("projects/1a5")).status == 403
    for action in ("setmembers", "deactivate", "remove", "purge"):
        answer = await person.post(f"projects/1a5?action={action}", {"members": [member("1a1", "owner")]})
        assert answer.status == 422, action
        inside = await person.post(
            f"/v2-beta/projects/1a5?action={action}",
            {"members": [member("1a1", "owner")]},
            headers={"X-API-Project-Id": "1a5"},
        )
        assert inside.status in (403, 405, 422), action


async def test_owning_one_project_gives_no_rights_in_another(server: Server) -> None:
    person = await make_member(server, "dan", "readonly")
    own = (await person.post("projects", {"name": "own"})).json
    await server.settled("account", own["id"])
    body = {"members": [member("1a1", "owner")]}
    answer = await person.post("projects/1a5?action=setmembers", body, headers={"X-API-Project-Id": own["id"]})
    assert answer.status in (403, 404, 405, 422)


async def test_a_membership_cannot_be_edited_by_its_holder(server: Server) -> None:
    person = await make_member(server, "eve", "member")
    rows = (await person.get("projects/1a5/projectmembers")).json["data"]
    (mine,) = [row for row in rows if row["role"] == "member"]
    assert mine["actions"] == {}
    for prefix in ("/v2-beta", PROJECT):
        path = f"{prefix}/projectmembers/{mine['id']}"
        assert (await person.put(path, {"role": "owner"})).status in (404, 405)
        assert (await person.delete(path)).status in (404, 405)
        assert (await person.post(f"{path}?action=remove")).status in (404, 422)
    more = await person.post("projectmembers", member("1a1", "owner"))
    assert more.status == 405


async def test_strangers_see_nothing_of_a_project(server: Server) -> None:
    await server.person("fred")
    fred = await server.login("fred", "correct horse")
    assert (await fred.get(f"{PROJECT}/stacks")).status == 403
    assert (await fred.get("stacks", headers={"X-API-Project-Id": "1a5"})).status == 403
    assert (await fred.get("stacks", query={"projectId": "1a5"})).status == 403
    assert (await fred.get("projects/1a5")).status == 404
    assert "1a5" not in [each["id"] for each in (await fred.get("projects")).json["data"]]
    assert (await fred.get("projects", query={"all": "true"})).json["data"] != []
    assert "1a5" not in [each["id"] for each in (await fred.get("projects", query={"all": "true"})).json["data"]]
    assert (await fred.get("projects/1a5/projectmembers")).status in (403, 404)


async def test_a_bad_project_id_is_a_bad_request(server: Server) -> None:
    admin = await server.admin()
    answer = await admin.get("stacks", headers={"X-API-Project-Id": "???"})
    assert (answer.status, answer.json["code"]) == (400, "InvalidFormat")
    assert (await admin.get("stacks", headers={"X-API-Project-Id": "1a999"})).status == 403


async def test_a_removed_member_is_out_at_once(server: Server) -> None:
    person = await make_member(server, "gil", "member")
    assert (await person.get(f"{PROJECT}/stacks")).status == 200
    admin = await server.admin()
    await admin.post("projects/1a5?action=setmembers", {"members": [member("1a1", "owner")]})
    assert (await person.get(f"{PROJECT}/stacks")).status == 403


async def test_an_inactive_project_is_there_for_its_owners_only(server: Server) -> None:
    person = await make_member(server, "hal", "member")
    admin = await server.admin()
    assert (await admin.post("projects/1a5?action=deactivate")).status == 202
    await server.settled("account", "1a5", "inactive")
    assert (await person.get(f"{PROJECT}/stacks")).status == 403
    assert "1a5" not in [each["id"] for each in (await person.get("projects")).json["data"]]
    assert "1a5" in [each["id"] for each in (await admin.get("projects")).json["data"]]


async def test_removing_a_project_removes_its_keys_and_members(server: Server) -> None:
    admin = await server.admin()
    project = (await admin.post("projects", {"name": "short"})).json
    await server.settled("account", project["id"])
    key = (await admin.post(f"/v2-beta/projects/{project['id']}/apikeys")).json
    await server.settled("credential", key["id"])
    program = server.with_key(key["publicValue"], key["secretValue"])
    assert (await program.get("stacks")).status == 200
    assert (await admin.delete(f"projects/{project['id']}")).status == 200
    await server.settled("account", project["id"], "removed")
    assert (await program.get("stacks")).status == 401
    rows = await server.context.store.find_by("projectMember", projectId=int(project["id"][2:]), removed=None)
    assert rows == []


async def test_the_last_administrator_stays(server: Server) -> None:
    admin = await server.admin()
    for answer in (
        await admin.delete("accounts/1a1"),
        await admin.post("accounts/1a1?action=deactivate"),
        await admin.put("accounts/1a1", {"kind": "user"}),
    ):
        assert (answer.status, answer.json["code"]) == (405, "LastAdminAccount")
    second = await server.person("ida", kind="admin")
    assert (await admin.put("accounts/1a1", {"kind": "user"})).status == 200
    last = await (await server.login("ida", "correct horse")).delete(f"accounts/{second}")
    assert last.json["code"] == "LastAdminAccount"


async def test_nobody_makes_himself_an_administrator(server: Server) -> None:
    account_id = await server.person("joe")
    joe = await server.login("joe", "correct horse")
    assert (await joe.put(f"accounts/{account_id}", {"kind": "admin"})).status == 405
    assert (await joe.post("accounts", {"name": "x", "kind": "admin"})).status in (404, 405)
    admin = await server.admin()
    assert (await admin.post("accounts", {"name": "x", "kind": "superadmin"})).status == 422


async def test_a_read_only_administrator_sees_everything_and_changes_nothing(server: Server) -> None:
    await server.person("kim", kind="readAdmin")
    kim = await server.login("kim", "correct horse")
    assert len((await kim.get("accounts")).json["data"]) >= 7
    assert [each["id"] for each in (await kim.get("projects", query={"all": "true"})).json["data"]] == ["1a5"]
    assert (await kim.get(f"{PROJECT}/stacks")).status == 200
    assert (await kim.post(f"{PROJECT}/stacks", {"name": "x"})).status == 405
    assert (await kim.post("projects", {"name": "x"})).status == 405
    assert (await kim.post("apikeys")).status == 405
    assert (await kim.put("projects/1a5", {"name": "x"})).status in (403, 405)
    assert (await kim.delete("accounts/1a1")).status == 405


async def test_identities_are_found_by_name_and_by_part_of_it(server: Server) -> None:
    account_id = await server.person("lena")
    admin = await server.admin()
    (found,) = (await admin.get("identities", query={"name": "lena"})).json["data"]
    assert (found["id"], found["externalIdType"], found["login"]) == (
        f"1i!rancher_id:{account_id[2:]}",
        "rancher_id",
        "lena",
    )
    (part,) = (await admin.get("identities", query={"all": "len"})).json["data"]
    assert part["id"] == found["id"]
    assert (await admin.get(f"identities/{found['id']}")).json["name"] == "lena"
    assert (await admin.get("identities")).json["data"][0]["id"] == "1i!rancher_id:1"
    assert (await admin.get("identities/1i!rancher_id:99")).status == 404
