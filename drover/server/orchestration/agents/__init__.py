"""Agents: who they are, whether they are there, how they are asked."""
