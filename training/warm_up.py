"""Warm-up: decoder and projectors learn a little from encoders that are pre-trained and frozen.

    accelerate launch training/warm_up.py --config training/recipes/warm_up.yaml --model MODEL --dataset DATA

The same command goes on where an earlier run was stopped.
"""

import sys
from pathlib import Path


if __name__ == "__main__":
    # Run as a file, Python looks for modules beside this one; the packages are one level up.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from training.run import main

    sys.exit(main("warm_up", __doc__))
