"""A metric of the `evaluate` library: `evaluate.load` takes this folder."""
