import json
import re

import pytest
import torch

from modeling_vital.conventions_vital import SCORING_CONVENTIONS, scoring_convention
from modeling_vital.conversion.layout import vital_processor
from modeling_vital.cutting_vital import PreparedMedia
from modeling_vital.processing_vital import VitalProcessor
from modeling_vital.video_processing_vital import sample_frames
from tests.fixtures.tiny_models import tiny_model


@pytest.fixture(scope="module")
def processor():
    return tiny_model().processor


def media(modality, num_tiles, num_motion=0):
    empty = torch.zeros(0)
    return PreparedMedia(modality, empty, num_tiles, empty, [num_motion] if num_motion else [])


def short(text):
    """The same text with runs of placeholders as the official fixtures write them."""
    text = re.sub("(<IMG_CONTEXT>){256}", "<CTXx256>", text)
    return re.sub("(<quad>)+", lambda run: f"<CTXx{len(run[0]) // len('<quad>')}>", text)


def test_conventions_by_name():
    assert scoring_convention("default").level_values == (0.9, 0.7, 0.5, 0.3, 0.1)
    assert scoring_convention("released").level_values == (1.0, 0.8, 0.6, 0.4, 0.2)
    counts = {name: sample_frames(310, 30, c.frame_sampling) for name, c in SCORING_CONVENTIONS.items()}
    assert {name: (len(c.key_frames), c.num_motion_frames) for name, c in counts.items()} == {
        "default": (10, 64),
        "released": (10, 308),
        "released_less_token": (5, 76),  # every fourth of 304; seconds 0, 2, 4, ... are multiples of 4 frames
    }
    with pytest.raises(ValueError, match="'best'.*default, released, released_less_token"):
        scoring_convention("best")


def test_the_line_per_motion_frame_is_filled_from_the_top(processor):
    processor.video_prompt = "line_per_motion_frame"
    runs = [f"<img>{'<IMG_CONTEXT>' * 4}</img>", f"<img>{'<quad>' * 3}</img>"]
    assert processor.media_text(media("video", [1], 3)).split("\n") == [
        f"Frame-1: {runs[0]}",
        f"Frame-2: {runs[1]}",
        "Frame-3: <image>",
        "Motion Feature: <image>",
    ]
    every = processor.media_text(media("video", [1, 1, 1], 3)).split("\n")
    assert every == [*(f"Frame-{i}: {runs[0]}" for i in (1, 2, 3)), f"Motion Feature: {runs[1]}"]
    processor.video_prompt = "line_per_key_frame"
    assert processor.media_text(media("video", [1], 3)).split("\n") == [
        f"Frame-1: {runs[0]}",
        f"Motion Feature: {runs[1]}",
    ]


def test_processor_refuses_what_it_does_not_know(processor):
    parts = processor.image_processor, processor.tokenizer
    with pytest.raises(ValueError, match="line_per_motion_frame.*'line'"):
        VitalProcessor(*parts, video_prompt="line")
    with pytest.raises(ValueError, match="single_tile_copies"):
        VitalProcessor(*parts, single_tile_copies=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, section", [("released", "score"), ("released_less_token", "less"), ("default", "train")]
)
def test_prompts_are_the_official_ones(name, section, official):
    prompts = json.loads((official / "common/prompts_true_tokenizer.json").read_text())[section]
    model = tiny_model()
    model.config.image_seq_length = 256
    processor = vital_processor(
        model.processor.image_processor, model.processor.tokenizer, model.config, prompt_template="internvl2_5"
    )
    processor.use_scoring(name)
    cases = {"image3": media("image", [3]), "image1x2": media("image", [2]), "video16": media("video", [1, 1], 16)}
    for case, item in cases.items():
        prompt = processor.score_prompt(item.modality)
        text = short(prompt.replace(f"<{item.modality}>", processor.media_text(item), 1))
        answer = prompts[case]["text"].removesuffix("<|im_end|>\n")
        assert text == (answer.rsplit(" ", 1)[0] if section == "train" else answer)
