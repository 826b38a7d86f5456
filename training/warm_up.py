"""Warm-up: decoder and projectors learn a little from encoders that are pre-trained and frozen.

    accelerate launch training/warm_up.py --config training/recipes/warm_up.yaml --model MODEL --dataset DATA

The same command resumes a run that was stopped.
"""

import sys


if __name__ == "__main__":
    import checkout  # noqa: F401  beside this file

    from training.run import main

    sys.exit(main("warm_up", __doc__))
