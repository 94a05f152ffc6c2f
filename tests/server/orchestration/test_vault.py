from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from drover.server.orchestration.credentials import hash_secret, new_public_value, new_secret_value, secret_matches
from drover.server.orchestration.host_api_keys import HostApiKeys, InvalidToken
from drover.server.orchestration.registration_token import make_token, parse_token, period_start_ms, sign, token_matches
from drover.server.orchestration.vault import KEY_FILE, Vault, VaultError

YEAR_MS = 365 * 24 * 3600 * 1000


def test_what_was_encrypted_can_be_read_again_by_the_same_key(tmp_path: Path) -> None:
    stored = Vault.open(tmp_path).encrypt("päss wörd", purpose="test")
    assert "päss" not in stored
    assert Vault.open(tmp_path).decrypt(stored, purpose="test") == "päss wörd"


def test_equal_texts_look_different(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path)
    assert vault.encrypt("x", purpose="test") != vault.encrypt("x", purpose="test")


def test_another_key_or_purpose_opens_nothing() -> None:
    stored = Vault(bytes(32)).encrypt("x", purpose="registry credential")
    with pytest.raises(VaultError, match="does not belong to this database"):
        Vault(b"1" * 32).decrypt(stored, purpose="registry credential")
    with pytest.raises(VaultError):
        Vault(bytes(32)).decrypt(stored, purpose="agent key")
    with pytest.raises(VaultError):
        Vault(bytes(32)).decrypt(stored[:-4] + "AAAA", purpose="registry credential")
    with pytest.raises(VaultError, match="not encrypted"):
        Vault(bytes(32)).decrypt("in the clear", purpose="registry credential")


def test_the_key_file_is_private(tmp_path: Path) -> None:
    Vault.open(tmp_path)
    path = tmp_path / KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [KEY_FILE]
    path.chmod(0o644)
    with pytest.raises(VaultError, match="chmod 600"):
        Vault.open(tmp_path)


def test_a_broken_key_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / KEY_FILE
    path.write_bytes(b"nonsense")
    path.chmod(0o600)
    with pytest.raises(VaultError, match="backup"):
        Vault.open(tmp_path)
    assert path.read_bytes() == b"nonsense"


def test_key_pairs_have_the_form_that_clients_know() -> None:
    assert re.fullmatch(r"[0-9A-F]{20}", new_public_value())
    secrets = {new_secret_value() for _ in range(50)}
    assert len(secrets) == 50
    assert all(re.fullmatch(r"[1-9A-HJ-NP-Za-km-z]{40}", each) for each in secrets)


def test_a_hashed_secret_is_recognised_and_nothing_else() -> None:
    vault = Vault(bytes(32))
    stored = hash_secret("the secret", vault)
    assert "the secret" not in stored
    assert secret_matches(stored, "the secret", vault)
    assert not secret_matches(stored, "the secre", vault)
    assert not secret_matches(stored, stored, vault)
    assert not secret_matches(stored, "the secret", Vault(b"1" * 32))
    assert not secret_matches("in the clear", "in the clear", vault)
    assert not secret_matches("", "", vault)


def test_registration_tokens_are_those_of_rancher() -> None:
    access, secret = "0123456789ABCDEF0123", "abcdefghijkmnpqrstuvwxyz23456789ABCDEFGH"
    june_2024 = 1_718_000_000_000
    assert period_start_ms(june_2024) == 1_703_980_800_000
    assert sign(access, secret, 1_703_980_800_000) == "DOmyiLEAcFV5dLplDcrldCq1k"
    assert make_token(access, secret, june_2024) == f"{access}:1703980800000:DOmyiLEAcFV5dLplDcrldCq1k"


def test_a_registration_token_is_good_for_its_period_and_its_secret() -> None:
    parts = parse_token(make_token("A", "secret", 1_718_000_000_000))
    assert parts is not None
    assert token_matches(parts, "secret", now_ms=1_718_000_000_000, period_ms=YEAR_MS)
    assert not token_matches(parts, "other", now_ms=1_718_000_000_000, period_ms=YEAR_MS)
    assert not token_matches(parts, "secret", now_ms=1_718_000_000_000 + YEAR_MS, period_ms=YEAR_MS)


@pytest.mark.parametrize(
    "text", ["", "a", "a:b", "a:1", "a:x:b", "a:1:b:c", ":1:b", "a:1:", "a:-1:b", "a:\u0661:b", "x" * 600]
)
def test_other_texts_are_no_registration_tokens(text: str) -> None:
    assert parse_token(text) is None


def test_tokens_are_signed_and_expire(tmp_path: Path) -> None:
    keys = HostApiKeys.open(tmp_path)
    token = keys.sign({"hostUuid": "h1"})
    claims = keys.verify(token)
    assert (claims["hostUuid"], claims["sub"], claims["iss"], claims["kid"]) == (
        "h1",
        "cattle",
        "http://cattle.io",
        "default",
    )
    assert claims["exp"] - claims["iat"] == 300
    assert HostApiKeys.open(tmp_path).verify(token)["hostUuid"] == "h1"
    with pytest.raises(InvalidToken):
        keys.verify(keys.sign({}, seconds=-120))
    head, body, signature = token.split(".")
    with pytest.raises(InvalidToken):
        keys.verify(f"{head}.{body}.{signature[:-8]}AAAAAAAA")
    with pytest.raises(InvalidToken):
        keys.verify("eyJhbGciOiJub25lIn0." + body + ".")
