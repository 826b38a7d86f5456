"""The paper's experiment at laptop scale: `python -m training.experiment`, see docs/experiment.md."""


class ExperimentError(ValueError):
    """The recipe, or what an earlier call left, does not match; the message says which and what to do."""
