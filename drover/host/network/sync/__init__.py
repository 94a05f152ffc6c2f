"""Repairs: small loops that bring one thing of the host in line with the world."""
