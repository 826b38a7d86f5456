"""Zero-shot transfer: the encoders of one model before the decoder of another, evaluated, with no training.

    python training/zero_shot.py --vision PRETRAINED --decoder OTHER --dataset DATA --output_dir runs/zero-shot

Writes the assembled model, which `AutoModel` loads, and the correlations of its scores.
"""

import sys
from pathlib import Path


if __name__ == "__main__":
    # Run as a file, Python looks for modules beside this one; the packages are one level up.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from training.assemble import main

    sys.exit(main(__doc__))
