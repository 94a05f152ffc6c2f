from pathlib import Path

import pytest

from drover.cli.commands.up import InvalidFiles, load
from drover.cli.compose_files import LocalFiles, read_env_file, read_sources, stack_name, variables
from drover.cli.exits import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "My_Shop"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


def test_the_usual_files(folder: Path) -> None:
    for name in ("docker-compose.yml", "docker-compose.override.yml", "rancher-compose.yml"):
        (folder / name).write_text(f"# {name}\n")
    sources = read_sources([], None, None, {})
    assert [file.path for file in sources.files] == ["docker-compose.yml", "docker-compose.override.yml"]
    assert [file.path for file in sources.rancher_files] == ["rancher-compose.yml"]
    assert sources.stack_name == "my-shop"


def test_files_named_by_flag_and_variable(folder: Path) -> None:
    (folder / "deploy").mkdir()
    for name in ("deploy/a.yml", "deploy/b.yml", "deploy/rancher-compose.yml"):
        (folder / name).write_text("")
    by_flag = read_sources(["deploy/a.yml:deploy/b.yml"], None, "other", {"COMPOSE_FILE": "ignored.yml"})
    assert [file.path for file in by_flag.files] == ["deploy/a.yml", "deploy/b.yml"]
    assert [file.path for file in by_flag.rancher_files] == ["deploy/rancher-compose.yml"]
    assert by_flag.stack_name == "other"
    by_variable = read_sources([], None, None, {"COMPOSE_FILE": "deploy/b.yml", "COMPOSE_PROJECT_NAME": "Named"})
    assert [file.path for file in by_variable.files] == ["deploy/b.yml"]
    assert by_variable.stack_name == "named"


def test_the_folder_of_the_first_file_names_the_stack(folder: Path) -> None:
    (folder / "deploy").mkdir()
    (folder / "deploy" / "a.yml").write_text("")
    assert read_sources(["deploy/a.yml"], None, None, {}).stack_name == "deploy"


def test_nothing_to_read() -> None:
    with pytest.raises(UsageError, match=r"no docker-compose\.yml here"):
        read_sources([], None, None, {})
    with pytest.raises(UsageError, match=r"no file gone\.yml"):
        read_sources(["gone.yml"], None, None, {})


@pytest.mark.parametrize(
    ("text", "name"), [("Shop", "shop"), ("my_app.v2", "my-app-v2"), ("_x", "x-x"), (".x", "x-x"), ("-x", "x-x")]
)
def test_stack_names(text: str, name: str) -> None:
    assert stack_name(text) == name


def test_the_env_file_wins_and_empty_variables_count_as_unset(folder: Path) -> None:
    (folder / "env").write_text("# comment\n\nA=1\n B = 2=3\nEMPTY=\n")
    assert read_env_file("env") == {"A": "1", "B": " 2=3", "EMPTY": ""}
    assert variables("env", {"A": "0", "C": "4", "D": ""}) == {"A": "1", "B": " 2=3", "C": "4", "EMPTY": ""}


def test_env_files_as_maps(folder: Path) -> None:
    (folder / "env.yml").write_text("a: 1\nb: true\nc: text\nd:\n")
    (folder / "env.json").write_text('{"a": 1.5}')
    assert read_env_file("env.yml") == {"a": "1", "b": "true", "c": "text", "d": ""}
    assert read_env_file("env.json") == {"a": "1.5"}
    (folder / "bad.yml").write_text("a: [1]")
    with pytest.raises(UsageError, match="value of a must be a text or a number"):
        read_env_file("bad.yml")
    (folder / "list.json").write_text("[1]")
    with pytest.raises(UsageError, match="must hold a map"):
        read_env_file("list.json")


def test_variables_and_files_beside_the_compose_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG", "1.2")
    (folder / "web.env").write_text("PORT=80\n")
    (folder / "docker-compose.yml").write_text(
        "version: '2'\nservices: {web: {image: 'nginx:$TAG', env_file: web.env, volumes: ['./data:/data']}}\n"
    )
    web = load(read_sources([], None, None, {}), None).services["web"]
    assert web.image == "nginx:1.2"
    assert web.environment == {"PORT": "80"}
    assert web.volumes == (f"{folder}/data:/data",)


def test_all_mistakes_are_listed_with_their_places(folder: Path) -> None:
    (folder / "docker-compose.yml").write_text(
        "version: '2'\nservices:\n  web:\n    image: x\n    prots: []\n    scale: a\n"
    )
    with pytest.raises(InvalidFiles) as caught:
        load(read_sources([], None, None, {}), None)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[1] for line in lines] == ["5", "6"]


def test_local_files_know_the_home_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "key").write_bytes(b"k")
    assert LocalFiles().read("~/key") == b"k"
    assert LocalFiles().absolute("~/key") == str(folder / "key")
