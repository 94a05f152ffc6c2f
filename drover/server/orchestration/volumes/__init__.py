"""Volumes as containers need them: found by name, mounted, cleaned up after their last container."""
