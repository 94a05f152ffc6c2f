"""The commands, one module a subject. A module declares flags at import and loads what it needs when it runs."""
