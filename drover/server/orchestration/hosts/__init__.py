"""Hosts: the machines of an environment, created from what their agents report."""
