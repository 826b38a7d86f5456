"""The sections of the benchmark, one file each: a module with `run(settings)` that returns plain Python values."""

SECTIONS = (
    *("cold_start", "scoring", "preparation", "decoding", "peak_share", "growth"),
    *("training_step", "data_pipeline", "means"),
)
"""Names of the modules here, in the order in which they are run; a result's file has the name of its section."""
