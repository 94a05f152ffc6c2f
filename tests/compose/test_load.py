"""Versions, sections, types and the rules between services: what is accepted, and how a refusal reads."""

from collections.abc import Callable

import pytest

from drover.compose import ComposeError, SourceFile, load_project
from drover.compose.model import (
    DockerHealthCheck,
    HealthCheck,
    HostDefinition,
    RestartPolicy,
    SecretDefinition,
    VolumeTemplate,
)

V2 = "version: '2'\nservices:\n"


@pytest.mark.parametrize("version", ["2", "'2'", '"2"', "2.0", "'2.1'", "2.4"])
def test_versions_that_are_version_2(version: str, load: Callable) -> None:
    assert list(load(f"version: {version}\nservices:\n  web: {{image: a}}\n").services) == ["web"]


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("3", "version 3 is not supported (versions 1 (no 'version' line) and 2 are supported; write version: '2')"),
        ("'3.4'", "version 3.4 is not supported"),
        ("'1'", "the version '1' does not exist"),
        ("x", "the version 'x' does not exist"),
        ("[2]", "the version '' does not exist"),
    ],
)
def test_versions_that_do_not_exist(version: str, message: str, errors_of: Callable) -> None:
    errors = errors_of(f"version: {version}\nservices:\n  web: {{image: a}}\n")
    assert errors[0].startswith(f"docker-compose.yml:1:1: {message}")


def test_sections_without_version_get_advice(errors_of: Callable) -> None:
    assert errors_of("services:\n  web: {image: a}\n") == [
        "docker-compose.yml:1:1: the file has a 'services' section but no version "
        "(add the line version: '2' at the top)"
    ]


def test_a_version_1_service_may_be_called_services_or_version(load: Callable) -> None:
    project = load("services: {image: a}\nversion: {image: b}\n")
    assert list(project.services) == ["services", "version"]


def test_newer_keys_are_only_warned_about_in_minor_versions(load: Callable) -> None:
    project = load("version: '2.3'\nservices:\n  web: {image: a, runtime: x}\n")
    assert "'runtime'; it is ignored" in str(project.warnings[0])


def test_unknown_sections_are_warned_about(load: Callable) -> None:
    project = load("version: '2'\nservice: {web: {image: a}}\n")
    assert project.services == {}
    assert "the section 'service' is unknown and ignored" in str(project.warnings[0])


def test_older_sections_are_services(load: Callable) -> None:
    project = load(
        """
version: '2'
services:
  .catalog: {name: x}
  web: {image: a}
load_balancers:
  lb: {image: lb, certs: [c], port_rules: [{source_port: 80, service: web}]}
storage_drivers:
  sd: {image: s, name: nfs, scope: environment}
network_drivers:
  nd: {image: n, name: net}
virtual_machines:
  vm: {image: v, vcpu: 2}
external_services:
  ext: {external_ips: [1.2.3.4]}
aliases:
  alias: {services: [web]}
networks: {x: {driver: y}}
containers: {c: {image: a}}
dependencies: {d: {}}
"""
    )
    services = project.services
    assert services["lb"].lb_config.certs == ("c",)
    assert services["lb"].lb_config.port_rules[0].service == "web"
    assert services["sd"].storage_driver.scope == "environment"
    assert services["nd"].network_driver.name == "net"
    assert services["vm"].vcpu == 2
    assert services["ext"].image == "rancher/external-service"
    assert (services["alias"].image, services["alias"].links) == ("rancher/dns-service", ("web",))


def test_volumes(load: Callable) -> None:
    project = load(
        V2 + "  web: {image: a}\nvolumes:\n  a:\n  b: {driver: '${D}', driver_opts: {n: 1}, per_container: 'true'}\n"
        "  c: {external: true}\n  d: {external: {name: other}}\n  e: {external: 'false', driver: ''}\n",
        variables={"D": "nfs"},
    )
    assert project.volumes == {
        "a": VolumeTemplate(name="a"),
        "b": VolumeTemplate(name="b", driver="nfs", driver_opts={"n": "1"}, per_container=True),
        "c": VolumeTemplate(name="c", external=True),
        "d": VolumeTemplate(name="d", external=True, external_name="other"),
        "e": VolumeTemplate(name="e"),
    }


def test_secrets(load: Callable, memory_files: Callable) -> None:
    project = load(
        V2 + "  web: {image: a}\nsecrets:\n  a: {external: 'true'}\n  b: {external: true}\n  c: {file: ./s/c.txt}\n",
        source=memory_files({"s/c.txt": b"\x00binary"}),
    )
    assert project.secrets == {
        "a": SecretDefinition(name="a", external=True),
        "b": SecretDefinition(name="b", external=True),
        "c": SecretDefinition(name="c", content=b"\x00binary"),
    }


def test_hosts(load: Callable) -> None:
    project = load(V2 + "  web: {image: a}\nhosts:\n  h: {count: 2, template: small, host_name: $X, labels: {a: 1}}\n")
    assert project.hosts == {
        "h": HostDefinition(name="h", count=2, template="small", body={"hostName": "$X", "labels": {"a": 1}})
    }


def test_question_defaults_answer_variables(load: Callable) -> None:
    rancher = """
.catalog:
  questions:
    - {variable: TAG, default: 1.5}
    - {variable: ON, default: true}
    - {variable: SET, default: unused}
    - {variable: NEEDED, required: true}
    - not a map
"""
    text = "web:\n  image: a:$TAG\n  hostname: x$ON-$SET\n"
    project = load(text, rancher, variables={"SET": ""})
    assert (project.services["web"].image, project.services["web"].hostname) == ("a:1.5", "xtrue-")
    assert [(q.variable, q.default, q.required) for q in project.questions][-1] == ("NEEDED", None, True)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("tty: [1]", "'tty' contains an invalid type, it should be a boolean (true or false)."),
        ("cpu_shares: many", "'cpu_shares' contains an invalid type, it should be an integer."),
        ("cpu_shares: 1.5", "'cpu_shares' contains an invalid type, it should be an integer."),
        ("image: [a]", "'image' contains an invalid type, it should be a string."),
        ("hostname: true", "'hostname' contains an invalid type, it should be a string."),
        ("ports: '80'", "'ports' contains an invalid type, it should be a list."),
        ("environment: text", "'environment' contains an invalid type, it should be a map or a list."),
        ("command: {a: b}", "'command' contains an invalid type, it should be a string or a list."),
        ('command: "it\'s"', "'command' cannot be split into words"),
        ("dns: {a: b}", "'dns' contains an invalid type, it should be a string or a list."),
        ("links: [a, a]", "'links' value ['a', 'a'] has non-unique elements (remove the second 'a')"),
        ("volumes: [[a]]", "'volumes' contains a list, which is an invalid type, it should be a string"),
        ("environment: [{a: b}]", "'environment' contains a map, which is an invalid type"),
        ("ports: ['80:']", "'ports' value '80:' Does not match format 'ports'"),
        ("ports: ['99999:80']", "'ports' value '99999:80' Does not match format 'ports'"),
        ("ports: ['99999']", "'ports' value '99999' Does not match format 'ports'"),
        ("ports: ['80-90:80-85']", "Does not match format 'ports'"),
        ("ports: ['80/xyz']", "Does not match format 'ports'"),
        ("ports: ['']", "Does not match format 'ports'"),
        ("expose: [a]", "'expose' value 'a' Does not match format 'expose'"),
        ("ulimits: {a: {soft: 1}}", "'ulimits' limit 'a' needs both soft and hard."),
        ("ulimits: {a: {soft: 1, hard: 2, x: 3}}", "'ulimits' contains unsupported option: 'x'"),
        ("mem_limit: 5x", "'mem_limit' is '5x', which is not a size."),
        ("mem_limit: -7", "'mem_limit' is -7, but a size is not negative."),
        ("stop_grace_period: soon", "'stop_grace_period' is 'soon', which is not a duration."),
        ("oom_score_adj: 2000", "'oom_score_adj' is 2000, but must lie between -1000 and 1000."),
        ("memswap_limit: 1g", "'memswap_limit' needs 'mem_limit' in the same service (add mem_limit)"),
        ("restart: sometimes", "'restart' is 'sometimes'."),
        ("restart: 'always:3'", "'restart' is 'always:3'."),
        ("logging: {drive: x}", "'logging' contains unsupported option: 'drive' (known: driver, options)"),
        ("secrets: [{target: x}]", "'secrets' has a secret without 'source'."),
        ("secrets: [{source: x, mode: '999'}]", "'secrets' has the mode '999'."),
        ("devices: ['a:b:c:d']", "'devices' contains 'a:b:c:d'."),
        ("blkio_weight_device: [x]", "'blkio_weight_device' contains 'x'."),
        ("health_check: {port: web}", "'health_check.port' contains an invalid type, it should be an integer."),
        ("health_check: {port: 70000}", "'health_check.port' is 70000, but must lie between 0 and 65535."),
        ("health_check: {interval: 5}", "Service 'web': health_check has no port (add 'port: <number>')"),
        (
            "health_check: {port: 1, strategy: x}",
            "'health_check.strategy' is 'x'. (write none, recreate, recreateOnQuorum)",
        ),
        ("scale_policy: {min: 0}", "'scale_policy.min' is 0, but must lie between 1 and"),
        ("pid: container:x", "'pid' is 'container:x'. (write host)"),
        ("lb_config: {port_rules: [{source_port: 1, protocol: ftp}]}", "'lb_config.port_rules.protocol' is 'ftp'."),
        ("lb_config: {port_rules: [{source_port: 1}, {target_port: 1}]}", "rule 2 of lb_config has no source_port"),
        ("lb_config: {port_rules: [{hostname: a}]}", "rule 1 of lb_config has no target_port"),
        ("storage_driver: {scope: x}", "'storage_driver.scope' is 'x'. (write local, environment, custom)"),
        ("lb_config: {port_rules: {a: b}}", "'lb_config.port_rules' contains an invalid type, it should be a list."),
        ("build: {contxt: .}", "'build' contains unsupported option: 'contxt'"),
        ("ulimits: [a]", "'ulimits' contains an invalid type, it should be a map."),
        ("logging: text", "'logging' contains an invalid type, it should be a map."),
        ("build: [a]", "'build' contains an invalid type, it should be a string or a map."),
        ("secrets: a", "'secrets' contains an invalid type, it should be a list."),
        ("depends_on: a", "'depends_on' contains an invalid type, it should be a list or a map."),
        ("extends: [a]", "'extends' contains an invalid type, it should be a string or a map."),
        ("extends: {file: a}", "'extends' names no service to extend."),
        ("healthcheck: a", "'healthcheck' contains an invalid type, it should be a map."),
        ("cpus: many", "'cpus' contains an invalid type, it should be a number."),
        ("devices: {a: b}", "'devices' contains an invalid type, it should be a list."),
        ("extra_hosts: a", "'extra_hosts' contains an invalid type, it should be a list or a map."),
        ("metadata: a", "'metadata' contains an invalid type, it should be a map."),
        ("log_opt: a", "'log_opt' contains an invalid type, it should be a map."),
        ("device_read_bps: a", "'device_read_bps' contains an invalid type, it should be a list or a map."),
        ("disks: a", "'disks' contains an invalid type, it should be a list."),
        ("description: [a]", "'description' contains an invalid type, it should be a string."),
        ("image: a:$", 'Invalid interpolation format for key "image": "a:$"'),
    ],
)
def test_wrong_values(keys: str, message: str, errors_of: Callable) -> None:
    image = "" if keys.startswith(("image", "build")) else "  image: a\n"
    errors = errors_of(f"web:\n{image}  {keys}\n")
    line = 2 if not image else 3
    assert errors[0].startswith(f"docker-compose.yml:{line}:")
    assert message in errors[0]


@pytest.mark.parametrize(
    ("keys", "attribute", "value"),
    [
        ("restart: no", "restart", RestartPolicy(name="no")),
        ("restart: 'false'", "restart", RestartPolicy(name="no")),
        ("restart: unless-stopped", "restart", RestartPolicy(name="unless-stopped")),
        ("command:", "command", None),
        ("command: ''", "command", None),
        ("command: '${NOTHING}'", "command", None),
        ("lb_config:", "lb_config", None),
        ("labels: {a: }", "labels", {"a": ""}),
        ("labels: [a = b]", "labels", {"a ": " b"}),
        ("environment: {EULA: Y, B: yes, C: 010, D: 1.10, E: 2018-01-01}", "environment",
         {"EULA": "Y", "B": "true", "C": "8", "D": "1.1", "E": "2018-01-01"}),
        ("environment: [A, B, C=]", "environment", {"B": "given", "C": ""}),
        ("environment: {A: , B: }", "environment", {"B": "given"}),
        ("privileged: ${YES}", "privileged", True),
        ("mem_limit: '1 GiB'", "mem_limit", 1024**3),
        ("mem_limit: 10B", "mem_limit", 10),
        ("memswap_limit: -1\n  mem_limit: 5", "memswap_limit", -1),
        ("stop_grace_period: 1500ms", "stop_grace_period", 1),
        ("stop_grace_period: '10'", "stop_grace_period", 10),
        ("ports: [22:22, '1000-1010:1000-1010/udp', '127.0.0.1::80', '[::1]:80:80', ':81:81', ':82']", "ports",
         ("22:22", "1000-1010:1000-1010/udp", "127.0.0.1::80", "[::1]:80:80", ":81:81", ":82")),
        ("network_mode: host", "network_mode", "host"),
        ("pid: ''", "pid", None),
        ("health_check: {port: 1, strategy: RECREATE}", "health_check", HealthCheck(port=1, strategy="recreate")),
        ("devices: ['/dev/a:rw']", "devices", ("/dev/a:/dev/a:rw",)),
        ("extra_hosts: {a: 1.2.3.4}", "extra_hosts", ("a:1.2.3.4",)),
        ("cpus: 0.5", "cpus", 0.5),
        ("healthcheck: {disable: true}", "healthcheck", DockerHealthCheck(test=("NONE",))),
        ("healthcheck: {test: [CMD, x], start_period: 5s}", "healthcheck", DockerHealthCheck(test=("CMD", "x"))),
        ("depends_on: {a: {condition: service_completed_successfully}}", "depends_on", {"a": "service_started"}),
        ("shm_size: '1.5k'", "shm_size", 1536),
        ("tmpfs: /run", "tmpfs", {"/run": ""}),
        ("extra_hosts: ['a:1.2.3.4']", "extra_hosts", ("a:1.2.3.4",)),
        ("scale: ${N}", "scale", 3),
    ],
)  # fmt: skip
def test_values_that_are_understood(keys: str, attribute: str, value: object, load: Callable) -> None:
    variables = {"B": "given", "YES": "true", "N": "3"}
    service = load(f"web:\n  image: a\n  {keys}\n", variables=variables).services["web"]
    assert getattr(service, attribute) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w@b: {image: a}", "Invalid service name 'w@b' - only [a-zA-Z0-9\\._\\-] characters are allowed"),
        (
            "my_web: {image: a}",
            "the API takes 1 to 63 letters, digits and inner hyphens (rename it, for example to 'my-web')",
        ),
        ("-web: {image: a}", "Invalid service name '-web'"),
        ("web: {tty: true}", "Service 'web' has neither an image nor a build (add 'image: <name>')"),
        ("web: {dockerfile: D}", "Service 'web' has neither an image nor a build"),
        ("web: 5", "the service 'web' must be a map of keys"),
        ("web: {image: a, links: [db]}", "Service 'web' has a link to service 'db' which is undefined"),
        ("lb: {image: 'rancher/load-balancer-service:1'}", "'rancher/load-balancer-service' takes no tag"),
        ("x: {image: 'rancher/external-service@sha256:0'}", "'rancher/external-service' takes no tag"),
        ("a: {image: x, labels: {io.rancher.sidekicks: b}}", "Failed to find sidekick: b"),
        (
            "a: {image: x, labels: {io.rancher.sidekicks: c}}\n"
            "b: {image: x, labels: {io.rancher.sidekicks: 'c'}}\nc: {image: y}",
            "can't have more than one primary service [a, b] referencing the same sidekick [c]",
        ),
        ("a: {image: x, labels: {io.rancher.sidekicks: a}}", "has sidekicks itself"),
        (
            "a: {image: x, net: 'container:b'}\nb: {image: y}",
            "shares the network of 'b', which is not part of the same",
        ),
        (
            "a: {image: x, network_mode: 'service:b'}\nb: {image: y}",
            "declare 'a' in the label io.rancher.sidekicks of 'b'",
        ),
        ("a: {image: x, network_mode: 'container:'}", "shares the network of ''"),
        ("a: {image: x, volumes_from: [b]}\nb: {image: y}", "takes volumes from 'b', which is not part of the same"),
        (
            "lb: {image: rancher/load-balancer-service, labels: {io.rancher.loadbalancer.target.w: 'a=b=c'}}",
            "'a=b=c' has more than one '='",
        ),
        ("lb: {image: rancher/load-balancer-service, ports: ['80-90']}", "'80-90' is not a single port"),
        (
            "lb: {image: rancher/load-balancer-service, labels: {io.rancher.loadbalancer.ssl.ports: 'x'}}",
            "'x' in 'x' is not a port",
        ),
    ],
)
def test_rules_between_services(text: str, message: str, errors_of: Callable) -> None:
    errors = " | ".join(errors_of(text))
    assert message in errors


def test_shared_networks_and_volumes_of_sidekicks(load: Callable) -> None:
    project = load(
        """
web: {image: a, labels: {io.rancher.sidekicks: 'side_1, data'}, volumes_from: [data], net: 'container:side_1'}
side_1: {image: b, volumes_from: ['container:data:ro']}
data: {image: c, network_mode: 'service:side_1'}
"""
    )
    assert project.primary_of == {"side_1": "web", "data": "web"}
    assert [service.name for service in project.primaries] == ["web"]
    assert [service.name for service in project.sidekicks_of("web")] == ["side_1", "data"]


def test_all_problems_are_found_in_one_run() -> None:
    with pytest.raises(ComposeError) as caught:
        load_project(
            files=[
                SourceFile("a.yml", "web:\n  imag: a\n  tty: maybe\n"),
                SourceFile("b.yml", "db:\n  image: b\n  links: [nope]\n"),
            ],
            rancher_files=[SourceFile("r.yml", "web: {scal: 2}\n")],
            variables={},
            stack_name="s",
            source=None,
        )
    places = [(p.file, p.line, p.column) for p in caught.value.problems]
    assert places == [("a.yml", 1, 1), ("a.yml", 2, 3), ("a.yml", 3, 8), ("b.yml", 3, 3), ("r.yml", 1, 7)]
    assert str(caught.value).count("\n") == 4
    assert (caught.value.status, caught.value.code) == (422, "InvalidComposeFile")


def test_all_problems_inside_a_section_are_found(errors_of: Callable) -> None:
    errors = errors_of(
        """
lb:
  image: a
  lb_config:
    port_rules:
      - {source_port: x, target_port: y}
      - text
      - {source_port: 80, weight: 999}
"""
    )
    assert [error.split(": ")[0] for error in errors] == [
        "docker-compose.yml:6:23",
        "docker-compose.yml:6:39",
        "docker-compose.yml:7:9",
        "docker-compose.yml:8:35",
    ]


def test_syntax_errors_of_all_files_are_reported() -> None:
    with pytest.raises(ComposeError) as caught:
        load_project(
            files=[SourceFile("a.yml", "a: ["), SourceFile("b.yml", "version: 3")],
            rancher_files=[],
            variables={},
            stack_name="s",
            source=None,
        )
    assert [problem.file for problem in caught.value.problems] == ["a.yml", "b.yml"]


def test_relative_paths_on_the_command_line(memory_files: Callable) -> None:
    project = load_project(
        files=[
            SourceFile("app/docker-compose.yml", "web: {image: a, volumes: ['./data:/d:ro', '~/x:/x', 'n:/n']}\n"),
            SourceFile("other/more.yml", "web: {build: src, volumes: ['../up:/u']}\n"),
        ],
        rancher_files=[],
        variables={},
        stack_name="s",
        source=memory_files({}),
    )
    web = project.services["web"]
    assert web.volumes == ("/srv/app/data:/d:ro", "/home/me/x:/x", "n:/n", "/srv/up:/u")
    assert web.build is not None
    assert web.build.context == "/srv/other/src"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("volumes: [a]", "the section 'volumes' must be a map"),
        ("volumes: {a: text}", "Service 'a' configuration key 'a' contains an invalid type"),
        ("secrets: {a: {}}", "is a secret without 'file' and not 'external'. (add 'external: true')"),
        ("hosts: {a: {count: 1000}}", "asks for 1000 hosts; 0 to 100 are possible."),
        ("hosts: {a: 5}", "contains an invalid type, it should be a map."),
    ],
)
def test_wrong_sections(section: str, message: str, errors_of: Callable) -> None:
    assert message in errors_of(f"version: '2'\nservices: {{web: {{image: a}}}}\n{section}\n")[0]


def test_build_args_are_warned_about(load: Callable) -> None:
    project = load("version: '2'\nservices: {web: {build: {context: 'https://x.test/a.git', args: {A: 1}}}}\n")
    assert "build args have no effect" in str(project.warnings[0])


def test_unknown_keys_of_volumes_are_warned_about(load: Callable) -> None:
    project = load("version: '2'\nvolumes: {a: {drive: x}}\n")
    assert "the volume 'a' has the unknown key 'drive'" in str(project.warnings[0])


def test_files_that_are_too_large_or_no_text(errors_of: Callable, memory_files: Callable) -> None:
    files = memory_files({"big.env": "x" * 2_000_000, "bin.env": b"\xff\xfe"})
    errors = errors_of("web: {image: a, env_file: [big.env, bin.env]}\n", source=files)
    assert "is larger than 1024 KiB" in errors[0]
    assert "is not UTF-8 text" in errors[1]


def test_no_files_at_all_is_an_empty_project() -> None:
    project = load_project(files=[], rancher_files=[], variables={}, stack_name="s", source=None)
    assert (project.services, project.volumes) == ({}, {})
