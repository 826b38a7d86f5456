"""What is stored is what was made: without loss for pictures, nearly so and reproducibly for clips."""

import numpy as np
from PIL import Image

from dataset_scripts.annotators.base import luma as luma_of
from dataset_scripts.encoding import decode, encode_clip, encode_image, shrink_clip, shrink_image
from modeling_vital.media_vital import load_media
from tests.fixtures.tiny_media import frames, photo


def test_pictures_are_stored_without_loss():
    pixels = photo(0)
    np.testing.assert_array_equal(decode(encode_image(pixels)), pixels)


def test_clips_keep_frames_rate_and_nearly_every_value():
    clip = frames(0, 20)
    data = encode_clip(clip, 12.5, 12)
    media = load_media(data)
    assert (media.num_frames, media.fps) == (20, 12.5)
    luma = [np.stack([luma_of(frame) for frame in part]) for part in (decode(data), clip)]
    assert np.abs(luma[0] - luma[1]).mean() < 2  # colour is stored at half the resolution


def test_the_same_clip_gives_the_same_bytes():
    clip = frames(1, 12, 320, 240)
    found = set()
    for call in range(5):
        encode_clip(frames(2, 8, 160 + 16 * call, 120), 12.0, 30)  # leaves other memory behind
        found.add(encode_clip(clip, 12.0, 12))
    assert len(found) == 1


def test_shrinking_keeps_the_shape_and_never_enlarges():
    assert shrink_image(Image.fromarray(photo(0, 300, 100)), 150).shape == (50, 150, 3)
    assert shrink_image(Image.fromarray(photo(0, 60, 40)), 150).shape == (40, 60, 3)
    clip = load_media(frames(0, 20, 130, 90))
    small = shrink_clip(clip, 65, 8)
    assert small.shape == (8, 44, 64, 3)  # even sides
    whole = shrink_clip(clip, 500, 99)
    np.testing.assert_array_equal(whole, clip.get_frames(range(20)))
    np.testing.assert_array_equal(shrink_clip(clip, 500, 8), whole[6:14])  # the middle
