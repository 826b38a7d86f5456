"""Base: encoders, projectors and decoder learn together: what the paper's pre-training starts from, made anew.

    accelerate launch training/base.py --config training/tiny/recipes/base.yaml

The same command goes on where an earlier run was stopped.
"""

import sys
from pathlib import Path


if __name__ == "__main__":
    # Run as a file, Python looks for modules beside this one; the packages are one level up.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from training.run import main

    sys.exit(main("base", __doc__))
