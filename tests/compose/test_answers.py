"""Variables from files, catalog questions, and stack names."""

import pytest

from drover.compose import ComposeError, SourceFile, api_name, read_answers, read_questions, stack_name


@pytest.mark.parametrize(
    ("path", "text", "answers"),
    [
        ("a.env", "A=1\n\n# no\nB= x y \nC\nD=a=b", {"A": "1", "B": " x y", "D": "a=b"}),
        ("a", "A='1'", {"A": "'1'"}),
        ("a.yml", "A: 1\nB: true\nC: text\nD:\n1: x\n", {"A": "1", "B": "true", "C": "text", "1": "x"}),
        ("a.YAML", "M: |\n  l1\n  l2\n", {"M": "l1\nl2\n"}),
        ("a.json", '{"A": 1.5, "B": "x"}', {"A": "1.5", "B": "x"}),
    ],
)
def test_answer_files(path: str, text: str, answers: dict[str, str]) -> None:
    assert read_answers(SourceFile(path, text)) == answers


@pytest.mark.parametrize(
    ("text", "place"), [("A: [1]\n", "a.yml:1:1"), ("- a\n", "a.yml:1:1"), ("A: {{x}}\n", "a.yml:1:5")]
)
def test_answer_files_that_are_no_map_of_values(text: str, place: str) -> None:
    with pytest.raises(ComposeError) as caught:
        read_answers(SourceFile("a.yml", text))
    assert str(caught.value).startswith(place)


def test_questions() -> None:
    text = """
.catalog:
  questions:
    - {variable: A, label: The A, description: why, type: enum, options: [x, 1], default: 1.0, required: true}
    - {variable: B}
    - {label: no variable}
web: {image: a}
"""
    first, second = read_questions(SourceFile("r.yml", text))
    assert (first.variable, first.label, first.description, first.type) == ("A", "The A", "why", "enum")
    assert (first.options, first.default, first.required) == (("x", "1"), "1", True)
    assert (second.variable, second.type, second.default, second.required) == ("B", "string", None, False)


def test_questions_of_broken_files() -> None:
    with pytest.raises(ComposeError, match=r"r\.yml:2:1: not valid YAML"):
        read_questions(SourceFile("r.yml", "a: ["))
    assert read_questions(SourceFile("r.yml", "version: '2'\n")) == ()


@pytest.mark.parametrize(
    ("folder", "name"),
    [("My_App.v2", "my-app-v2"), ("web", "web"), (".hidden", "x-hidden"), ("_x", "x-x"), ("-a", "x-a"), ("é", "-")],
)
def test_stack_names(folder: str, name: str) -> None:
    assert stack_name(folder) == name


@pytest.mark.parametrize(("text", "name"), [("my_web", "my-web"), ("_", "service"), ("a" * 80, "a" * 63), ("-a-", "a")])
def test_api_names(text: str, name: str) -> None:
    assert api_name(text) == name
