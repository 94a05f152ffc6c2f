"""Addresses of a lab."""

import ipaddress

from lab.network import Subnet


def test_machine_and_hosts_have_fixed_places() -> None:
    subnet = Subnet(ipaddress.IPv4Network("10.213.7.0/24"))
    assert (subnet.gateway, subnet.host(0), subnet.host(2)) == ("10.213.7.1", "10.213.7.11", "10.213.7.13")


def test_the_last_of_200_hosts_still_has_an_address() -> None:
    subnet = Subnet(ipaddress.IPv4Network("10.213.0.0/24"))
    last = ipaddress.IPv4Address(subnet.host(199))
    assert last in subnet.network
    assert last != subnet.network.broadcast_address
