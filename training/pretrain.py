"""Pre-training: the image and the motion encoder learn through a frozen decoder.

    accelerate launch training/pretrain.py --config training/recipes/smoke.yaml --output_dir runs/smoke

The same command goes on where an earlier run was stopped.
"""

import sys
from pathlib import Path


if __name__ == "__main__":
    # Run as a file, Python looks for modules beside this one; the packages are one level up.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from training.run import main

    sys.exit(main("pretrain", __doc__))
