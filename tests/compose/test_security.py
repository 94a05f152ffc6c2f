"""A stranger's file on the server: nothing is read, nothing explodes, everything is said."""

import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drover.compose import ComposeError, Problem, SourceFile, load_project, plan_services, waves
from drover.compose.keys import KEYS


def problems_of(text: str) -> tuple[Problem, ...]:
    """Load and convert a text; what is wrong with it, which is nothing for a good one."""
    try:
        project = load_project(
            files=[SourceFile("f.yml", text)],
            rancher_files=[],
            variables={"A": "1"},
            stack_name="s",
            source=None,
        )
    except ComposeError as error:
        return error.problems
    plans = plan_services(project)
    assert sum(len(wave) for wave in waves({plan.name: plan.depends_on for plan in plans})) == len(plans)
    return ()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("web: {image: a, env_file: /etc/passwd}", "env_file '/etc/passwd'"),
        ("web: {image: a, env_file: [a, /proc/self/environ]}", "env_file '/proc/self/environ'"),
        ("web: {extends: {file: /etc/passwd, service: root}, image: a}", "extends: file '/etc/passwd'"),
        (
            "version: '2'\nservices: {web: {image: a}}\nsecrets: {s: {file: /etc/shadow}}",
            "secret 's': file '/etc/shadow'",
        ),
        ("web: {build: .}", "Build not supported"),
        ("web: {build: /srv/app}", "Build not supported"),
        ("web: {image: a, volumes: ['./data:/data']}", "the volume './data'"),
        ("web: {image: a, volumes: ['../../etc:/x']}", "the volume '../../etc'"),
        ("web: {image: a, volumes: ['~/.ssh:/x']}", "the volume '~/.ssh'"),
    ],
)
def test_the_server_opens_no_files(text: str, what: str, errors_of: Callable) -> None:
    assert what in " ".join(errors_of(text))


def test_variables_cannot_smuggle_a_path_in(errors_of: Callable) -> None:
    errors = errors_of("web: {image: a, env_file: '${F}'}", variables={"F": "/etc/passwd"})
    assert "the server reads no files" in errors[0]


def test_what_the_server_allows(load: Callable) -> None:
    project = load("web: {image: a, volumes: ['/srv:/x', 'data:/y', '/z', '.hidden']}")
    assert project.services["web"].volumes == ("/srv:/x", "data:/y", "/z", ".hidden")


def test_templates_are_refused_with_the_place(errors_of: Callable) -> None:
    assert errors_of('web:\n  image: {{env "SECRET"}}\n') == [
        "docker-compose.yml:2:10: templates ({{ ... }}) are not supported yet "
        "(begin the file with '#notemplating' if the braces are meant literally)"
    ]


@pytest.mark.parametrize("marker", ["#notemplating", "  \n# notemplating\n"])
def test_the_marker_keeps_braces(marker: str, load: Callable) -> None:
    project = load(f"{marker}\nweb: {{image: a, command: ['{{{{.ID}}}}']}}\n")
    assert project.services["web"].command == ("{{.ID}}",)


def test_a_large_project_is_fast() -> None:
    services = "".join(
        f"""
  s{i}:
    image: nginx:${{TAG:-1.{i}}}
    ports: ['{8000 + i}:80']
    environment: {{A: b, C: '${{X:-y}}', D: 12}}
    labels: {{io.rancher.x: '1', io.rancher.scheduler.global: 'true'}}
    volumes: ['data:/data', '/a:/b']
    command: [a, b]
    restart: always
    mem_limit: 12m
    links: [s{(i + 1) % 200}]
    depends_on: [s0]
    health_check: {{port: 80, interval: 2000, request_line: GET /}}
"""
        for i in range(200)
    )
    started = time.process_time()
    project = load_project(
        files=[SourceFile("big.yml", "version: '2'\nservices:" + services)],
        rancher_files=[],
        variables={},
        stack_name="s",
        source=None,
    )
    assert len(plan_services(project)) == 200
    print(f"{time.process_time() - started:.2f} s of processor time")


@pytest.mark.parametrize(
    "text",
    [
        "web: {image: a, ports: [" + ", ".join(f"{i}" for i in range(1, 40_000)) + "]}",
        "web: {image: a, dns: [" + ", ".join(f"x{i}" for i in range(60_000)) + ", x59999]}",
        "".join(f"s{i}: {{image: a, cpu_shares: x, tty: 1}}\n" for i in range(15_000)),
        "web: {image: a, depends_on: [" + ", ".join(f"x{i}" for i in range(60_000)) + "]}",
        "web: {image: a, command: '" + "x " * 200_000 + "'}",
        "web: {image: a, mem_limit: '" + "9" * 100_000 + "'}",
        "web: {image: a, stop_grace_period: '" + "1s" * 100_000 + "'}",
        "web: {image: a, labels: {io.rancher.sidekicks: '" + "web," * 100_000 + "'}}",
        "".join(f"s{i}: {{image: a, links: [s{i + 1}]}}\n" for i in range(3000)) + "s3000: {image: a}",
        "".join(f"s{i}: {{extends: s{i + 1}, image: a}}\n" for i in range(3000)) + "s3000: {image: a}",
        "".join(f"x{i}: {{imag: a}}\n" for i in range(3000)),
        "web: {image: '" + "${A:-" * 5000 + "}" * 5000 + "'}",
        "web: {" + ", ".join(f"unknown{i}: 1" for i in range(5000)) + "}",
    ],
    ids=[
        "ports",
        "twice",
        "many-errors",
        "depends",
        "words",
        "size",
        "duration",
        "sidekicks",
        "links",
        "extends",
        "errors",
        "nested",
        "unknown",
    ],
)
def test_hostile_sizes_end_quickly(text: str) -> None:
    started = time.process_time()
    problems = problems_of(text)
    assert len(problems) <= 201
    assert time.process_time() - started < 60, "processor time: a busy machine does not matter, a loop in a loop does"


FUZZED_KEYS = sorted(KEYS)

YAML_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "80:80", "$A", "${", "a=b", "/x:/y", "container:web", "1m", "web", "\x00", "é"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["service", "file", "soft", "driver", "options", "source", "port", "port_rules", "name", "x"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(FUZZED_KEYS),
        YAML_VALUES,
        max_size=4,
    ),
    st.sampled_from(["2", "2.1", None]),
)
def test_any_value_is_taken_or_refused_but_never_crashes(service: dict, version: str | None) -> None:
    document: dict = {"web": {"image": "rancher/load-balancer-service", **service}}
    if version:
        document = {"version": version, "services": document, "volumes": {"v": service}, "secrets": {"s": service}}
    text = msgspec.json.encode(document).decode()
    assert all(problem.message for problem in problems_of(text))


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_taken_or_refused_but_never_crashes(text: str) -> None:
    assert all(problem.message for problem in problems_of(text))
