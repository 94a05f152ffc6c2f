"""The kernel's policies in the original's form, as text and in a real kernel."""

import os
import subprocess

import pytest

from drover.host.network.routers.policies import Selector, Template, difference, parse, policies

from .test_overlay import container, loaded
from .underlay import sh

OUT = Selector("out", "10.42.0.0/16", "10.42.1.1/32")


def test_each_remote_address_has_three() -> None:
    _, overlay = loaded(container("a", 2, "10.42.1.1"))
    wanted = policies(overlay, lambda remote: remote.ip == "10.42.1.1")
    assert wanted == {
        OUT: Template("10.42.0.5", "192.0.2.2"),
        Selector("in", "10.42.1.1/32", "10.42.0.0/16"): Template("192.0.2.2", "10.42.0.5"),
        Selector("fwd", "10.42.1.1/32", "10.42.0.0/16"): Template("192.0.2.2", "10.42.0.5"),
    }


def test_hosts_in_user_space_have_none() -> None:
    _, overlay = loaded(container("a", 2, "10.42.1.1"))
    assert policies(overlay, lambda _: False) == {}


def test_unwanted_ones_go_before_missing_ones_come() -> None:
    gone = Selector("out", "10.42.0.0/16", "10.42.9.9/32")
    template = Template("10.42.0.5", "192.0.2.2")
    assert difference({gone: template}, {OUT: template}) == [
        "xfrm policy delete dir out src 10.42.0.0/16 dst 10.42.9.9/32",
        "xfrm policy update dir out src 10.42.0.0/16 dst 10.42.1.1/32 priority 10000"
        " tmpl src 10.42.0.5 dst 192.0.2.2 proto esp reqid 1234 mode tunnel",
    ]
    assert difference({OUT: template}, {OUT: template}) == []


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="policies need root")
def test_what_the_kernel_holds_is_read_back() -> None:
    namespace = f"drvt-xfrm-{os.getpid()}"
    _, overlay = loaded(container("a", 2, "10.42.1.1"), container("b", 2, "10.42.1.2"))
    wanted = policies(overlay, lambda _: True)
    sh("ip", "netns", "add", namespace)
    try:
        batch = ["ip", "-n", namespace, "-batch", "-"]
        foreign = "xfrm policy add dir out src 10.9.0.0/16 dst 10.8.0.0/16 priority 77 ptype main"
        lines = [foreign, *difference({}, wanted)]
        subprocess.run(batch, input="\n".join(lines) + "\n", text=True, check=True, timeout=60)
        listed = sh("ip", "-n", namespace, "-oneline", "xfrm", "policy", "list")
        assert parse(listed) == wanted
        subprocess.run(batch, input="\n".join(difference(wanted, {})) + "\n", text=True, check=True, timeout=60)
        left = sh("ip", "-n", namespace, "-oneline", "xfrm", "policy", "list")
        assert parse(left) == {}
        assert "10.9.0.0/16" in left, "policies of others stay"
    finally:
        sh("ip", "netns", "del", namespace)
