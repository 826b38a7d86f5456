"""Exit codes of `vital`, and the exceptions with which a subcommand ends it."""

EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, what a shell reports of a program stopped by Ctrl-C
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, what a shell reports of a program whose reader went away


class UsageError(Exception):
    """A wrong argument that only the work itself could find out; `EXIT_USAGE`. Its message says what to do."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; `EXIT_INTERRUPTED`. Its message says what became of the work done so far."""
