"""The paper's experiment at laptop scale: `python -m training.experiment`, see docs/experiment.md."""
