"""Everything that stays open or goes both ways: subscriptions, the agents' channel, and streams through the proxy."""
