"""Tests of transformers that cannot apply to our classes, each with its reason."""

NOT_APPLICABLE: dict[str, str] = {}
