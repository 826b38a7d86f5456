"""Pre-training: the image and the motion encoder learn through a frozen decoder.

    accelerate launch training/pretrain.py --config training/recipes/smoke.yaml --output_dir runs/smoke

The same command resumes a run that was stopped.
"""

import sys


if __name__ == "__main__":
    import checkout  # noqa: F401  beside this file

    from training.run import main

    sys.exit(main("pretrain", __doc__))
