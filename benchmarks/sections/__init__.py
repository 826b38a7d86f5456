"""The sections of the benchmark, one file each: a module with `run(settings)` that returns plain Python values."""
