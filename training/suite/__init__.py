"""The suite that our own models are measured with; see `training.suite.measurement` for what is in it."""
