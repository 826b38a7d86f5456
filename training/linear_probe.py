"""Linear probe: a head on the pooled features of frozen encoders; scores without a decoder.

    python training/linear_probe.py --config training/recipes/linear_probe.yaml --dataset ratings.csv

The features of every item are computed once and kept beside output_dir, so that the same command resumes where it was
stopped and another loss or rate takes seconds. Several processes (torchrun, accelerate launch) share that work.
"""

import sys


if __name__ == "__main__":
    import checkout  # noqa: F401  beside this file

    from training.probe_stage import main

    sys.exit(main(__doc__))
