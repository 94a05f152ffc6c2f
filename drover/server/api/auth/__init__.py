"""Who is asking: log-ins, keys, roles, environments, and what ends when a right is taken away."""
