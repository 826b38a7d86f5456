"""Base: encoders, projectors and decoder learn together: what the paper's pre-training starts from, made anew.

    accelerate launch training/base.py --config training/tiny/recipes/base.yaml

The same command resumes a run that was stopped.
"""

import sys


if __name__ == "__main__":
    import checkout  # noqa: F401  beside this file

    from training.run import main

    sys.exit(main("base", __doc__))
