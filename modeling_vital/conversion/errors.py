"""The two ways in which a conversion is refused."""


class ConversionError(Exception):
    """The source cannot be converted: its message names what is wrong in it and what to do."""


class ConversionUsageError(ConversionError):
    """The conversion was asked for wrongly: no such source, a destination that exists, a missing option."""
