"""Compose files <-> API resources: pure functions, shared by the server and the command line.

The way of a file: `load` (templates, YAML, sections, variables, types, extends, merging, checks) gives a typed
`ComposeProject`; `convert` gives the bodies of API calls, with names where the API wants ids; `diff` compares them with
what exists; `export` goes the other way.
"""

from drover.compose.answers import read_answers, read_questions
from drover.compose.convert import Kind, Link, ServicePlan, local_builds, plan_services, volume_bodies
from drover.compose.diff import ServiceChange, diff_service, update_body, upgrade_launch_configs
from drover.compose.errors import ComposeError, Mark, Problem, Severity
from drover.compose.export import ComposeFiles, ExportNames, ServiceName, export_stack
from drover.compose.launch_config import BuiltImage
from drover.compose.load import load_project
from drover.compose.model import ComposeProject, FileSource, Question, Service, SourceFile
from drover.compose.names import api_name, stack_name
from drover.compose.order import waves
from drover.compose.references import (
    CertificateRef,
    Reference,
    SecretRef,
    ServiceRef,
    SettingRef,
    references,
    resolve,
)
from drover.compose.transform import TransformError, transform

__all__ = [
    "BuiltImage",
    "CertificateRef",
    "ComposeError",
    "ComposeFiles",
    "ComposeProject",
    "ExportNames",
    "FileSource",
    "Kind",
    "Link",
    "Mark",
    "Problem",
    "Question",
    "Reference",
    "SecretRef",
    "Service",
    "ServiceChange",
    "ServiceName",
    "ServicePlan",
    "ServiceRef",
    "SettingRef",
    "Severity",
    "SourceFile",
    "TransformError",
    "api_name",
    "diff_service",
    "export_stack",
    "load_project",
    "local_builds",
    "plan_services",
    "read_answers",
    "read_questions",
    "references",
    "resolve",
    "stack_name",
    "transform",
    "update_body",
    "upgrade_launch_configs",
    "volume_bodies",
    "waves",
]
