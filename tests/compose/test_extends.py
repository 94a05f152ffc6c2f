"""`extends` and `env_file`."""

from collections.abc import Callable

import pytest

from drover.compose.envfile import parse


def test_same_file_on_the_server(load: Callable) -> None:
    project = load(
        """
base: {image: nginx, command: [a], ports: [80], environment: [A=1, B=1], labels: {x: y}}
web:
  extends: {service: base}
  command: [b]
  ports: [81]
  environment: {B: 2}
short: {extends: base}
chain: {extends: web, tty: true}
"""
    )
    web = project.services["web"]
    assert (web.image, web.command, web.ports) == ("nginx", ("b",), ("80", "81"))
    assert web.environment == {"A": "1", "B": "2"}
    assert project.services["short"].image == "nginx"
    assert project.services["chain"].command == ("b",)
    assert project.services["chain"].tty is True


def test_other_files_are_relative_to_the_file_that_names_them(load: Callable, memory_files: Callable) -> None:
    files = memory_files(
        {
            "common/base.yml": "base:\n  extends: {file: ../deep/root.yml, service: root}\n  env_file: base.env\n",
            "deep/root.yml": "version: '2'\nservices:\n  root: {image: root, tty: true}\n",
            "common/base.env": "FROM=base\n",
        }
    )
    project = load("web:\n  extends: {file: common/base.yml, service: base}\n", source=files)
    web = project.services["web"]
    assert (web.image, web.tty, web.environment) == ("root", True, {"FROM": "base"})
    assert sorted(files.read_paths) == ["common/base.env", "common/base.yml", "deep/root.yml"]


@pytest.mark.parametrize(
    ("own", "image", "has_build"),
    [("image: mine", "mine", False), ("build: https://x.test/y.git", None, True), ("tty: true", "base", False)],
)
def test_image_and_build_exclude_each_other(own: str, image: str | None, has_build: bool, load: Callable) -> None:
    service = load(f"base: {{image: base}}\nweb: {{extends: base, {own}}}\n").services["web"]
    assert service.image == image
    assert (service.build is not None) is has_build


@pytest.mark.parametrize("key", ["links: [other]", "volumes_from: [other]"])
def test_services_with_links_cannot_be_extended(key: str, errors_of: Callable) -> None:
    errors = errors_of(
        f"base: {{image: a, {key}, labels: {{io.rancher.sidekicks: other}}}}\n"
        "other: {image: b}\nweb: {extends: base, image: c}\n"
    )
    name = key.partition(":")[0]
    assert f"Cannot extend service 'base' in docker-compose.yml: services with '{name}' cannot be extended" in errors[0]


def test_unknown_base(errors_of: Callable) -> None:
    errors = errors_of("web: {image: a, extends: nothing}\n")
    assert errors == ["docker-compose.yml:1:17: Failed to find service nothing to extend (check its name)"]


def test_circles_are_found(errors_of: Callable) -> None:
    errors = errors_of("a: {image: x, extends: b}\nb: {extends: c, image: x}\nc: {extends: a, image: x}\n")
    assert any("goes in a circle" in error and "a -> b -> c -> a" in error for error in errors)
    errors = errors_of("a: {image: x, extends: a}\n")
    assert "a -> a" in errors[0]


def test_circles_over_files_are_found(errors_of: Callable, memory_files: Callable) -> None:
    files = memory_files({"x.yml": "a: {image: x, extends: {file: sub/../docker-compose.yml, service: web}}\n"})
    files.files["docker-compose.yml"] = "web: {image: x, extends: {file: x.yml, service: a}}\n"
    errors = errors_of(files.files["docker-compose.yml"], source=files)
    assert "goes in a circle" in errors[0]


def test_endless_chains_over_linked_folders_end(errors_of: Callable) -> None:
    class LinkedFolders:
        def read(self, path: str) -> bytes:
            return b"a: {image: x, extends: {file: sub/x.yml, service: a}}\n"

        def absolute(self, path: str) -> str:
            return path

    errors = errors_of("a: {image: x, extends: {file: sub/x.yml, service: a}}\n", source=LinkedFolders())
    assert "has more than 32 steps" in errors[0]


def test_missing_files_are_reported_with_the_place(errors_of: Callable, memory_files: Callable) -> None:
    text = "web:\n  image: a\n  env_file: [no.env]\n  extends: {file: no.yml, service: x}\n"
    errors = errors_of(text, source=memory_files({}))
    assert [error.partition(": ")[0] for error in errors] == ["docker-compose.yml:3:3", "docker-compose.yml:4:3"]


def test_problems_in_a_base_file_name_that_file(errors_of: Callable, memory_files: Callable) -> None:
    files = memory_files({"base.yml": "x:\n  image: a\n  prots: [1]\n"})
    errors = errors_of("web: {extends: {file: base.yml, service: x}}\n", source=files)
    assert errors == ["base.yml:3:3: Unsupported config option for x service: 'prots' (did you mean 'ports'?)"]


def test_environment_beats_files_and_later_files_beat_earlier(load: Callable, memory_files: Callable) -> None:
    files = memory_files({"a.env": "A=a\nB=a\nC=a\n", "b.env": "# comment\n\n  B=b = $X \nC=b\nGIVEN\nABSENT\nQ='q'\n"})
    text = "web: {image: x, env_file: [a.env, b.env], environment: {C: own}}\n"
    environment = load(text, source=files, variables={"GIVEN": "v"}).services["web"].environment
    assert environment == {"A": "a", "B": "b = $X", "C": "own", "GIVEN": "v", "Q": "'q'"}


def test_env_file_lines() -> None:
    assert parse("A=1\r\nB\n#C=2\n =x\nD==\n") == {"A": "1", "B": None, "": "x", "D": "="}
