"""Encoders: both encoders learn plain targets, without a decoder: the first stage of a base family.

    accelerate launch training/encoders.py --config training/tiny/recipes/encoders.yaml

The same command resumes a run that was stopped.
"""

import sys


if __name__ == "__main__":
    import checkout  # noqa: F401  beside this file

    from training.run import main

    sys.exit(main("encoders", __doc__))
