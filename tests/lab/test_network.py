"""Addresses of a lab."""

import ipaddress
import socket

from lab.network import Subnet, free_port


def test_machine_and_hosts_have_fixed_places() -> None:
    subnet = Subnet(ipaddress.IPv4Network("10.213.7.0/24"))
    assert (subnet.gateway, subnet.host(0), subnet.host(2)) == ("10.213.7.1", "10.213.7.11", "10.213.7.13")


def test_the_last_of_200_hosts_still_has_an_address() -> None:
    subnet = Subnet(ipaddress.IPv4Network("10.213.0.0/24"))
    last = ipaddress.IPv4Address(subnet.host(199))
    assert last in subnet.network
    assert last != subnet.network.broadcast_address


def test_a_port_that_somebody_has_on_all_addresses_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) > port


def test_a_free_port_is_taken_as_wished() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert free_port("127.0.0.1", port) == port
