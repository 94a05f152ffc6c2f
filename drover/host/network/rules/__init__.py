"""The host's packet filter: what it should hold, and bringing it there."""
