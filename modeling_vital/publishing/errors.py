"""The one error of publishing."""


class PublishError(Exception):
    """Something that keeps a folder from being published. The message names it and says what to do."""
