"""Containers: from the wish for one to the running thing on a host, and back."""
