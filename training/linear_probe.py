"""Linear probe: a head on the pooled features of frozen encoders; scores without a decoder.

    python training/linear_probe.py --config training/recipes/linear_probe.yaml --dataset ratings.csv

The features of every item are computed once and kept beside output_dir, so that the same command goes on where it was
stopped and another loss or rate takes seconds. Several processes (torchrun, accelerate launch) share that work.
"""

import sys
from pathlib import Path


if __name__ == "__main__":
    # Run as a file, Python looks for modules beside this one; the packages are one level up.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from training.probe import main

    sys.exit(main(__doc__))
