"""The scheduler of an environment as a program: the server asks it where containers may run."""
