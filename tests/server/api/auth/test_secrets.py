from __future__ import annotations

import asyncio
import base64
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.server.api.auth.conftest import PROJECT, Server

pytestmark = pytest.mark.anyio


def pem_pair(name: str = "web.example") -> tuple[str, str]:
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(4711)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name), x509.DNSName("www." + name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


async def test_a_secret_is_never_read_back(server: Server) -> None:
    owner = await server.admin(PROJECT)
    value = base64.b64encode(b"planted-secret").decode()
    created = await owner.post("secrets", {"name": "db", "value": value})
    assert created.status == 201
    read = await owner.get(f"secrets/{created.json['id']}")
    for answer in (created, read, await owner.get("secrets")):
        assert value.encode() not in answer.content


@pytest.mark.parametrize(
    ("value", "code"),
    [(None, "EmptySecret"), ("", "EmptySecret"), ("not base64!", "InvalidBase64"), ("YQ=", "InvalidBase64")],
)
async def test_a_secret_must_have_a_value_in_base64(server: Server, value: str | None, code: str) -> None:
    owner = await server.admin(PROJECT)
    answer = await owner.post("secrets", {"name": "db", "value": value})
    assert (answer.status, answer.json["code"], answer.json["fieldName"]) == (422, code, "value")


async def test_the_facts_of_a_certificate_are_read_from_it(server: Server) -> None:
    owner = await server.admin(PROJECT)
    cert, key = pem_pair()
    created = await owner.post("certificates", {"name": "web", "cert": cert, "key": key})
    assert created.status == 201, created.content
    shown = created.json
    assert (shown["CN"], shown["issuer"], shown["serialNumber"]) == ("web.example", "web.example", "4711")
    assert shown["subjectAlternativeNames"] == ["web.example", "www.web.example"]
    assert shown["issuedAt"] == "Fri Jan 02 03:04:05 UTC 2026"
    assert shown["algorithm"] == "SHA256WITHECDSA"
    assert len(shown["certFingerprint"].split(":")) == 20
    assert b"PRIVATE KEY" not in created.content
    assert b"PRIVATE KEY" not in (await owner.get(f"certificates/{shown['id']}")).content


async def test_a_certificate_and_its_key_must_belong_together(server: Server) -> None:
    owner = await server.admin(PROJECT)
    cert, key = pem_pair()
    for body, field in (
        ({"cert": cert, "key": pem_pair()[1]}, "key"),
        ({"cert": "no pem", "key": key}, "cert"),
        ({"cert": cert, "key": "no pem"}, "key"),
    ):
        answer = await owner.post("certificates", {"name": "web", **body})
        assert (answer.status, answer.json["code"], answer.json["fieldName"]) == (422, "InvalidFormat", field)


async def test_a_certificate_is_renewed_with_and_without_a_new_key(server: Server) -> None:
    owner = await server.admin(PROJECT)
    cert, key = pem_pair()
    created = (await owner.post("certificates", {"name": "web", "cert": cert, "key": key})).json
    await server.settled("certificate", created["id"])
    path = f"certificates/{created['id']}"
    assert (await owner.put(path, {"description": "renamed"})).status == 200
    other, other_key = pem_pair("other.example")
    wrong = await owner.put(path, {"cert": other})
    assert (wrong.status, wrong.json["fieldName"]) == (422, "key")
    right = await owner.put(path, {"cert": other, "key": other_key})
    assert (right.status, right.json["CN"]) == (200, "other.example")


async def test_a_certificate_in_use_stays(server: Server) -> None:
    owner = await server.admin(PROJECT)
    cert, key = pem_pair()
    created = (await owner.post("certificates", {"name": "web", "cert": cert, "key": key})).json
    await server.settled("certificate", created["id"])
    changes = server.context.store.changes()
    changes.insert(
        "service",
        {
            "kind": "loadBalancerService",
            "name": "front",
            "state": "active",
            "accountId": 5,
            "lbConfig": {"certificateIds": [int(created["id"][2:])]},
        },
    )
    await server.context.store.commit(changes)
    for answer in (
        await owner.delete(f"certificates/{created['id']}"),
        await owner.post(f"certificates/{created['id']}?action=remove"),
    ):
        assert (answer.status, answer.json["code"]) == (405, "InvalidAction")
        assert "front" in answer.json["message"]


async def test_a_registry_address_is_used_once_and_is_no_url(server: Server) -> None:
    owner = await server.admin(PROJECT)
    assert (await owner.post("registries", {"serverAddress": "quay.io"})).status == 201
    again = await owner.post("registries", {"serverAddress": "QUAY.io"})
    assert (again.status, again.json["code"]) == (400, "ServerAddressUsed")
    for address in ("https://quay.io", "quay.io/team", "-x.io", "a b", "quay.io;id", "$(id)", "quay.io\n"):
        answer = await owner.post("registries", {"serverAddress": address})
        assert answer.status in (400, 422), address


async def test_only_listed_registries_are_allowed_when_there_is_a_list(server: Server) -> None:
    await server.set_setting("registry.whitelist", "index.docker.io, quay.io")
    owner = await server.admin(PROJECT)
    refused = await owner.post("registries", {"serverAddress": "evil.example"})
    assert (refused.status, refused.json["code"]) == (422, "InvalidOption")
    assert (await owner.post("registries", {"serverAddress": "quay.io"})).status == 201


async def test_a_credential_belongs_to_a_registry_of_the_same_environment(server: Server) -> None:
    owner = await server.admin(PROJECT)
    admin = await server.admin()
    project = (await admin.post("projects", {"name": "other"})).json
    await server.settled("account", project["id"])
    other = await server.admin(f"/v2-beta/projects/{project['id']}")
    foreign = (await other.post("registries", {"serverAddress": "quay.io"})).json
    body = {"registryId": foreign["id"], "publicValue": "u", "secretValue": "p"}
    refused = await owner.post("registrycredentials", body)
    assert (refused.status, refused.json["code"]) == (422, "InvalidReference")


async def test_planted_secrets_are_nowhere(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Every response, the log, and every page of the database."""
    admin, owner = await server.admin(), await server.admin(PROJECT)
    cert, key = pem_pair()
    planted = {
        "secret": base64.b64encode(b"PLANTED-secret-value").decode(),
        "password": "PLANTED-password",
        "changed": "PLANTED-changed-password",
        "registry": "PLANTED-registry-password",
        "registry2": "PLANTED-registry-password-2",
        "key": "PLANTED-chosen-key",
        "host": "PLANTED" + "0" * 121,
        "pem": key.splitlines()[1],
        "admin": server.admin_password,
    }
    answers = [
        await owner.post("secrets", {"name": "s", "value": planted["secret"]}),
        await owner.post("certificates", {"name": "c", "cert": cert, "key": key}),
    ]
    registry = await owner.post("registries", {"serverAddress": "quay.io"})
    body = {"registryId": registry.json["id"], "publicValue": "u", "secretValue": planted["registry"]}
    credential = await owner.post("registrycredentials", body)
    await server.settled("credential", credential.json["id"])
    answers.append(credential)
    path = f"registrycredentials/{credential.json['id']}"
    answers.append(await owner.put(path, {"secretValue": planted["registry2"]}))
    account = await admin.post("accounts", {"name": "mia", "kind": "user"})
    await server.settled("account", account.json["id"])
    body = {"accountId": account.json["id"], "publicValue": "mia", "secretValue": planted["password"]}
    password = await admin.post("passwords", body)
    await server.settled("credential", password.json["id"])
    answers.append(password)
    change = {"oldSecret": planted["password"], "newSecret": planted["changed"]}
    answers.append(await admin.post(f"passwords/{password.json['id']}?action=changesecret", change))
    chosen = await admin.post("apikeys", {"publicValue": "CHOSEN", "secretValue": planted["key"]})
    assert chosen.json["secretValue"] == planted["key"]
    assert {each.status for each in answers} <= {200, 201}
    assert (await owner.post("register", {"key": planted["host"]})).status == 201
    assert (await owner.post("misspelled", {"key": planted["host"], "x": planted["registry"]})).status == 404
    login = await server.client().post("token", {"code": f"mia:{planted['changed']}"})
    planted["session"] = login.json["jwt"]
    lists = (
        "secrets certificates credentials registrycredentials passwords apikeys auditlogs processinstances "
        "genericobjects accounts registrationtokens settings"
    )
    for client in (admin, owner):
        answers += [await client.get(plural, query={"limit": "1000"}) for plural in lists.split()]
    for name, text in planted.items():
        for answer in answers:
            assert text.encode() not in answer.content, (name, answer.content[:300])
    await _flushed(server)
    output = capsys.readouterr()
    pages = b"".join(each.read_bytes() for each in server.data_dir.glob("drover.db*"))
    assert b"auditLog" in pages or b"api.secret.create" in pages
    for name, text in planted.items():
        assert text not in output.out + output.err, name
        assert text.encode() not in pages, name


async def _flushed(server: Server) -> None:
    """The audit rows of all requests so far are in the database."""
    for _ in range(200):
        if await server.context.store.first("auditLog", eventType="api.password.changesecret") is not None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the audit log was not written")


async def test_the_credentials_of_a_registry_go_with_it(server: Server) -> None:
    owner = await server.admin(PROJECT)
    registry = (await owner.post("registries", {"serverAddress": "quay.io"})).json
    body = {"registryId": registry["id"], "publicValue": "u", "secretValue": "p"}
    credential = (await owner.post("registrycredentials", body)).json
    await server.settled("credential", credential["id"])
    number = int(registry["id"][3:])
    record = await server.context.store.get("storagePool", number)
    assert record is not None
    changes = server.context.store.changes()
    changes.update(record, {"state": "inactive"})
    await server.context.store.commit(changes)
    assert (await owner.delete(f"registries/{registry['id']}")).status == 200
    left = await server.context.store.find_by("credential", registryId=number, removed=None)
    assert left == []
