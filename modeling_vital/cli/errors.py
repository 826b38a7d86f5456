"""Exceptions with which a subcommand ends the program: wrong use, and Ctrl-C with a word on what is kept."""


class UsageError(Exception):
    """A wrong argument that only the work itself could find out. Its message says what to do; the exit code is 2."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. Its message says what became of the work done so far; the exit code is 130."""
