import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from drover.common.logging import configure_logging


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_has_one_object_a_line() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream, program="agent")
    structlog.get_logger("drover.host").info("connected", host="1h5")
    event = json.loads(stream.getvalue())
    assert event["event"] == "connected"
    assert event["host"] == "1h5"
    assert event["level"] == "info"
    assert event["program"] == "agent"
    assert event["logger"] == "drover.host"
    assert event["timestamp"].endswith("Z")


def test_records_of_libraries_take_the_same_form() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream)
    logging.getLogger("some.library").warning("slow %s", "disk")
    assert json.loads(stream.getvalue())["event"] == "slow disk"


def test_the_level_hides_what_is_below() -> None:
    stream = io.StringIO()
    configure_logging("warning", "text", stream=stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().error("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


def test_secrets_are_blanked() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream)
    structlog.get_logger().info("login", user="ann", password="hunter2", Secret_Key="abc")
    assert "hunter2" not in stream.getvalue()
    assert "abc" not in stream.getvalue()
    assert json.loads(stream.getvalue())["user"] == "ann"


def test_an_exception_is_one_json_line() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream)
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger().exception("failed")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["exception"][0]["exc_value"] == "broken"


def test_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown log level"):
        configure_logging("chatty")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_stack_traces_show_no_values(log_format: str) -> None:
    stream = io.StringIO()
    configure_logging("info", log_format, stream=stream)
    planted = "".join(["pass", "word-", "in-a-local"])

    def fail(secret: str) -> None:
        raise ValueError("broken")

    try:
        fail(planted)
    except ValueError:
        structlog.get_logger("test").exception("it.failed")
    assert "broken" in stream.getvalue()
    assert planted not in stream.getvalue()
