"""The one error that means the command was used wrongly."""


class UsageError(Exception):
    """A wrong argument that only the work itself could find out. Its message says what to do; the exit code is 2."""
