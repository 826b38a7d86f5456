"""Lets the stage scripts be run by name: imported by one, it puts the repository on the path instead of this folder.

`accelerate launch training/pretrain.py` makes Python look for modules beside the script; the packages are one level
up.
"""

import sys
from pathlib import Path


sys.path[0] = str(Path(__file__).resolve().parent.parent)
