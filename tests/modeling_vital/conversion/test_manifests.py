"""The keys of the four released sizes: each has a place in ours, and ours have no other source.

`tests/fixtures/released_keys.json` lists keys by shape, `{a..b}` standing for the numbers from a to b.
"""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from modeling_vital.conversion.convert import prepare
from modeling_vital.conversion.source import Shard


MANIFESTS = json.loads(Path("tests/fixtures/released_keys.json").read_text())
SIZES = MANIFESTS["models"]
SLOW = re.compile(r"slowfast_model\.feature_extraction\.[0-4]\.(multipathway_blocks\.0|multipathway_fusion)\..*")


def expand(grouped):
    keys = {}
    for shape, patterns in grouped.items():
        for pattern in patterns:
            match = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
            numbers = range(int(match[1]), int(match[2]) + 1) if match else [""]
            for number in numbers:
                key = pattern if match is None else f"{pattern[: match.start()]}{number}{pattern[match.end() :]}"
                keys[key] = json.loads(shape)
    return keys


def released_keys(size):
    keys = {**expand(SIZES[size]["keys"]), **expand(MANIFESTS["slowfast_model"])}
    assert len(keys) == SIZES[size]["n_keys"]
    return keys


class HeadersOnly:
    """A source of which only the headers are known."""

    name = "headers"
    shards = [Shard(Path("model.safetensors"))]

    def __init__(self, config, keys):
        self.config, self.keys = config, keys

    def headers(self):
        dtypes = {key: torch.int64 if key.endswith("num_batches_tracked") else torch.bfloat16 for key in self.keys}
        return {self.shards[0].path: {k: torch.empty(s, dtype=dtypes[k], device="meta") for k, s in self.keys.items()}}


def test_every_key_has_a_place_and_every_parameter_a_source():
    for size in SIZES:
        keys = released_keys(size)
        plan = prepare(HeadersOnly(SIZES[size]["config"], keys))  # refuses unknown, missing and mis-shaped keys
        (made,) = (part.tensors for part in plan.parts)
        ours = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in plan.model.state_dict().items()}
        assert {name: tuple(tensor.shape) for name, tensor in made.items()} == {n: s for n, (s, _) in ours.items()}
        assert not any(parameter.numel() == 0 for parameter in plan.model.parameters())
        dropped = [key for group in plan.dropped.values() for key in group]
        assert sorted(dropped) == sorted(key for key in keys if SLOW.fullmatch(key))
        buffers = ("running_mean", "running_var", "num_batches_tracked")
        counts = [math.prod(keys[key]) for key in dropped if not key.endswith(buffers)]
        assert sum(counts) == 33_130_336  # what the released code never uses, see the motion encoder
        released = sum(math.prod(shape) for shape in keys.values())
        assert sum(t.numel() for t in made.values()) == released - sum(math.prod(keys[key]) for key in dropped)


@pytest.mark.slow
def test_the_manifests_are_the_official_ones(official):
    for size in SIZES:
        manifest = json.loads((official / f"keys_vital_{size}.json").read_text())
        assert released_keys(size) == manifest["keys"]
