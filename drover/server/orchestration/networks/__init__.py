"""Networks as containers see them: which one a container joins, and the address it gets there."""
