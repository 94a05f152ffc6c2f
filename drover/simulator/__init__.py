"""Simulated hosts: for scale and fault tests, and for demonstrations, without Docker.

``model`` is a host as a pure description, shared with the server's own simulation; ``program`` registers many of them
with a server and lets them speak the real agent protocol.
"""

from drover.simulator.program import SimulatorSettings, run_simulator

__all__ = ["SimulatorSettings", "run_simulator"]
