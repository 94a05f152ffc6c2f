"""The YAML dialect, positions, and limits against hostile files."""

import time

import pytest

from drover.compose import yaml
from drover.compose.errors import Invalid, Problems
from drover.compose.nodes import Mapping, scalar_text, to_plain


def parse(text: str) -> Mapping:
    return yaml.parse(text, file="f.yml", problems=Problems())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:22", "22:22"),
        ("190:20:30", "190:20:30"),
        ("y", True),
        ("Yes", True),
        ("on", True),
        ("TRUE", True),
        ("n", False),
        ("off", False),
        ("False", False),
        ("tRUE", "tRUE"),
        ("010", 8),
        ("-010", -8),
        ("08", 8.0),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", 3),
        ("-0b11", -3),
        ("1_000", 1000),
        ("+1", 1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        (".inf", float("inf")),
        ("2018-01-01", "2018-01-01"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("=", "="),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("nULL", "nULL"),
        ("", None),
        ("1.2.3", "1.2.3"),
        ("12a", "12a"),
        ("-", "-"),
        ("+", "+"),
        ("0x", "0x"),
        ("18446744073709551615", 18446744073709551615),
        ("18446744073709551616", 1.8446744073709552e19),
        ("1e999", "1e999"),
        ("_1", "_1"),
        ("9" * 500, "9" * 500),
        ("٣", "٣"),
    ],
)
def test_plain_scalars_follow_go_yaml(text: str, value: object) -> None:
    found = yaml.resolve_scalar(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("quoted", ["'22'", '"22"', "!!str 22", "! 22"])
def test_quoted_and_tagged_text_stays_text(quoted: str) -> None:
    assert to_plain(parse(f"a: {quoted}")) == {"a": "22"}


def test_binary_is_decoded() -> None:
    assert to_plain(parse("a: !!binary aGVsbG8=")) == {"a": "hello"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (8, "8"),
        (1.0, "1"),
        (1.5, "1.5"),
        (-2.5, "-2.5"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.25e-7, "1.25e-07"),
        (123456.789, "123456.789"),
        (0.0, "0"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
        ("x", "x"),
    ],
)
def test_scalars_become_text_as_go_prints_them(value: str | float, text: str) -> None:
    assert scalar_text(value) == text


def test_every_key_knows_its_line_and_column() -> None:
    root = parse("web:\n  image: nginx\n  ports:\n    - 80:80\n")
    web = root.entries["web"]
    assert str(web.mark) == "f.yml:1:1"
    assert isinstance(web.value, Mapping)
    assert str(web.value.entries["ports"].mark) == "f.yml:3:3"
    assert str(web.value.entries["image"].value.mark) == "f.yml:2:10"


def test_anchors_aliases_and_merge_keys() -> None:
    text = """
base: &base {image: nginx, tty: true}
other: &other {tty: false, user: root}
web:
  image: mine
  <<: [*base, *other]
api: *base
"""
    assert to_plain(parse(text)) == {
        "base": {"image": "nginx", "tty": True},
        "other": {"tty": False, "user": "root"},
        "web": {"image": "mine", "tty": True, "user": "root"},
        "api": {"image": "nginx", "tty": True},
    }


def test_duplicate_keys_last_wins_with_a_warning() -> None:
    problems = Problems()
    root = yaml.parse("a: 1\nb: 2\na: 3\n", file="f.yml", problems=problems)
    assert to_plain(root) == {"a": 3, "b": 2}
    assert [str(p) for p in problems.warnings] == [
        "f.yml:3:1: the key 'a' stands here a second time; the last value counts (remove the one at line 1)"
    ]


def test_keys_keep_their_spelling() -> None:
    assert to_plain(parse("Y: 1\n80: x\n1_0: z\nnull: v\n")) == {"Y": 1, "80": "x", "1_0": "z", "null": "v"}


def test_only_the_first_document_is_read() -> None:
    assert to_plain(parse("a: 1\n---\n}{ not yaml")) == {"a": 1}


@pytest.mark.parametrize("text", ["", "   \n", "# only a comment\n", "---\n", "~", "null"])
def test_empty_documents_are_empty_maps(text: str) -> None:
    assert to_plain(parse(text)) == {}


def test_order_is_kept() -> None:
    names = [f"s{i}" for i in range(50, 0, -1)]
    assert list(parse("".join(f"{name}: 1\n" for name in names)).entries) == names


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: [1\nb: 2\n", "f.yml:2", "not valid YAML"),
        ("a:\n\tb: 1\n", "f.yml:2:1", "indent with spaces"),
        ("a: @x\n", "f.yml:1:4", "not valid YAML"),
        ("{{x}}: 1\n", "f.yml:1:1", "invalid map key"),
        ("a: {{x}}\n", "f.yml:1:5", "invalid map key"),
        ("- a\n- b\n", "f.yml:1:1", "must be a map"),
        ("just text", "f.yml:1:1", "must be a map"),
        ("a: *nowhere\n", "f.yml:1:4", "has no anchor before it"),
        ("a: &x [*x]\n", "f.yml:1:8", "stands inside its own anchor"),
        ("a: !!python/object/apply:os.system [ls]\n", "f.yml:1:4", "is not supported"),
        ("a: !custom x\n", "f.yml:1:4", "is not supported"),
        ("a:\n  <<: text\n", "f.yml:2:7", "needs a map"),
        ("a: !!binary '%%%\udce9'", "f.yml", ""),
    ],
)
def test_errors_carry_the_place(text: str, place: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text)
    assert str(caught.value.mark).startswith(place)
    assert message in f"{caught.value.message} {caught.value.suggestion}"


def test_tab_after_a_colon_is_fine() -> None:
    assert to_plain(parse("a:\tb\n")) == {"a": "b"}


def test_yaml_bomb_is_refused_before_it_is_expanded() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{i}: &l{i} [" + ", ".join([f"*l{i - 1}"] * 10) + "]" for i in range(1, 10)]
    started = time.process_time()
    with pytest.raises(Invalid, match="once aliases are expanded"):
        parse("\n".join(lines))
    assert time.process_time() - started < 60, "ten thousand million values were made before they were counted"


def test_merge_key_bomb_is_refused() -> None:
    lines = ["m0: &m0 {" + ", ".join(f"k{i}: v" for i in range(100)) + "}"]
    lines += [f"m{i}: &m{i} {{<<: [" + ", ".join([f"*m{i - 1}"] * 50) + f"], n{i}: 1}}" for i in range(1, 20)]
    with pytest.raises(Invalid, match="once aliases are expanded"):
        parse("\n".join(lines))


@pytest.mark.parametrize("text", ["a: " + "[" * 100 + "]" * 100, "a: " + "[" * 50_000, "a: " + "{b: " * 5_000])
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text)


def test_depth_through_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 500)]
    with pytest.raises(Invalid, match="nested deeper"):
        parse("\n".join(lines))


def test_huge_input_is_refused() -> None:
    with pytest.raises(Invalid, match="larger than 1024 KiB"):
        parse("a: " + "x" * (yaml.MAX_BYTES + 1))


def test_a_large_file_parses() -> None:
    text = "".join(f"s{i}:\n  image: nginx:{i}\n  labels: {{a: b, c: d}}\n" for i in range(2000))
    started = time.process_time()
    assert len(parse(text)) == 2000
    print(f"{time.process_time() - started:.2f} s of processor time")
