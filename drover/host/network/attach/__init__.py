"""Giving a container its interface before its program starts."""
