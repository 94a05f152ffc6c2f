"""Names and paths of a lab follow from its name alone."""

from pathlib import Path

import pytest

from lab.errors import LabError
from lab.layout import LabLayout


def test_interface_name_fits_the_kernel_for_the_longest_name() -> None:
    assert len(LabLayout.of("a123456789").root_interface) <= 15


@pytest.mark.parametrize("name", ["", "UPPER", "a-b", "1abc", "../x", "a1234567890"])
def test_names_that_cannot_be_an_interface_are_refused(name: str) -> None:
    with pytest.raises(LabError, match="lower-case"):
        LabLayout.of(name)


def test_one_lab_never_claims_the_namespaces_of_another() -> None:
    short, longer = LabLayout.of("test"), LabLayout.of("test2")
    assert not longer.host("host1").namespace.startswith(short.namespace_prefix)


def test_directories_move_with_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DROVER_LAB_DIR", str(tmp_path))
    layout = LabLayout.of("one")
    assert {layout.run, layout.data, layout.cache} == {tmp_path / "run/one", tmp_path / "data/one", tmp_path / "cache"}


def test_a_hosts_socket_path_fits_the_kernel() -> None:
    """The kernel takes 107 bytes; containerd adds nothing, Docker nothing."""
    assert len(str(LabLayout.of("a123456789").host("host200").containerd_socket)) <= 107
