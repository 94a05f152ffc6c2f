"""Events between the parts of a server: topics, requests with replies, bounded subscriptions.

In one process today. A broker between several servers takes the place of :class:`Bus` behind the same methods.
"""

from drover.server.bus.bus import Bus, NoAnswer, NotAsked, Refused, Subscription
from drover.server.bus.event import Event

__all__ = ["Bus", "Event", "NoAnswer", "NotAsked", "Refused", "Subscription"]
