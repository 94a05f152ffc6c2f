"""The host agent: brings one Docker engine into an environment and keeps it there.

`read_settings` and `run_agent` are the interface; `docs/internals/agent-channel.md` tells how the parts fit.
"""

from drover.host.agent.agent import run_agent
from drover.host.agent.settings import AgentSettings, read_settings

__all__ = ["AgentSettings", "read_settings", "run_agent"]
