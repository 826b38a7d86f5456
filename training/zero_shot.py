"""Zero-shot transfer: the encoders of one model before the decoder of another, evaluated, with no training.

    python training/zero_shot.py --vision PRETRAINED --decoder OTHER --dataset DATA --output_dir runs/zero-shot

Writes the assembled model, which `AutoModel` loads, and the correlations of its scores.
"""

import sys


if __name__ == "__main__":
    import checkout  # noqa: F401  beside this file

    from training.zero_shot_stage import main

    sys.exit(main(__doc__))
