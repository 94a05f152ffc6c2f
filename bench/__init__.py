"""Benchmarks: how fast, how lean, and how that compares; see docs/internals/bench.md.

Every bench starts its own servers, hosts and engines on this machine, measures them from outside, and removes them.
Numbers that depend on the machine are printed next to ratios that depend on it less.
"""
