"""Checkpoints of ours in formats of other programs: `vital export` and what it is made of, one module a format."""
