"""The process engine: durable processes that move a resource from state to state. Knows no resource by name.

The life of a process: *scheduled* in the same plan that changes the resource, so the client already sees the
transitioning state; *accepted* by this server once the plan is durable; *run* by the handler registered for its name,
any number of times, each time looking at what is and doing what is missing; *finished* by one guarded plan that sets
the next state, stores the handler's results and closes the record, or hands over to the next process.
"""

from drover.server.lifecycle.engine import Engine
from drover.server.lifecycle.errors import AlreadyRunning, NotAllowed, ProcessConflict
from drover.server.lifecycle.handlers import Handlers
from drover.server.lifecycle.outcome import Again, Chain, Delegate, Done, Outcome
from drover.server.lifecycle.run import Run
from drover.server.lifecycle.watch import Watch

__all__ = [
    "Again",
    "AlreadyRunning",
    "Chain",
    "Delegate",
    "Done",
    "Engine",
    "Handlers",
    "NotAllowed",
    "Outcome",
    "ProcessConflict",
    "Run",
    "Watch",
]
