"""The one error the laboratory raises."""


class LabError(Exception):
    """Something the laboratory needs is missing or did not work; the text says what to do about it."""
