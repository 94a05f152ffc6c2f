"""The root of every error that Drover raises on purpose.

A `DroverError` is written for the person who reads it: its text says what went wrong and what to do next, so
a program may print it without a stack trace. Everything else is a defect and deserves the trace.
"""

from __future__ import annotations


class DroverError(Exception):
    """An expected failure with a message for the user."""


class SettingsError(DroverError):
    """A flag or an environment variable has a value that cannot be used."""
