"""Encoders: both encoders learn plain targets, without a decoder: the first stage of a base family.

    accelerate launch training/encoders.py --config training/tiny/recipes/encoders.yaml

The same command goes on where an earlier run was stopped.
"""

import sys
from pathlib import Path


if __name__ == "__main__":
    # Run as a file, Python looks for modules beside this one; the packages are one level up.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from training.run import main

    sys.exit(main("encoders", __doc__))
