"""The suite that our own models are measured with; see `training.tiny_suite` for what is in it."""
