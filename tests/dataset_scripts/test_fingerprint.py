"""Perceptual hashes survive what copies go through, and the index misses no copy."""

import numpy as np
import pytest
from PIL import Image

from dataset_scripts.distortions import distort_image
from dataset_scripts.encoding import shrink_image
from dataset_scripts.fingerprint import CopyIndex, image_hash
from tests.fixtures.tiny_media import photo


def distance(a, b):
    return (image_hash(a) ^ image_hash(b)).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_hash_of_a_copy_is_near_and_of_another_picture_far(seed):
    original = photo(seed, 320, 240)
    smaller = shrink_image(Image.fromarray(original), 160)
    jpeg = distort_image(original, "jpeg", 2, np.random.default_rng(0))
    assert distance(original, smaller) <= 3
    assert distance(original, jpeg) <= 3
    assert min(distance(original, photo(other, 320, 240)) for other in range(20, 40)) > 10


def test_index_finds_exactly_what_lies_within_the_distance():
    rng = np.random.default_rng(0)
    known = [int(value) for value in rng.integers(0, 2**63, 200)]
    index = CopyIndex(distance=3)
    for number, value in enumerate(known):
        index.add(str(number), [value])
    for number, value in enumerate(known):
        for flips in range(6):
            bits = rng.choice(64, flips, replace=False)
            turned = value ^ sum(1 << int(bit) for bit in bits)
            assert (str(number) in index.find([turned])) == (flips <= 3)


def test_clips_are_copies_only_if_all_frames_are():
    index = CopyIndex(distance=0)
    index.add("clip", [1, 2, 3])
    index.add("photo", [1])
    assert list(index.find([1, 2, 3])) == ["clip"]
    assert list(index.find([1, 2, 4])) == []
    assert list(index.find([1])) == ["photo"]
