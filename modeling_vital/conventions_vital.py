"""The scoring conventions: how a level word is asked for, which frames are seen, and what the levels are worth.

One convention is one set of choices that belong together. A checkpoint stores those it was made for, level values in
its configuration and the rest in its processor; `VitalForConditionalGeneration.use_scoring` changes them by name.
"""

from dataclasses import dataclass, field

from .levels_vital import LEVEL_VALUES, RELEASED_LEVEL_VALUES
from .video_processing_vital import FrameSampling


DEFAULT_ANSWER_PREFIXES = {"image": "The quality of the image is", "video": "The quality of the video is"}
"""What stands before the level word, in the wording of the training data."""

DEFAULT_DESCRIPTION_PREFIXES = {"image": "The distortion of the image is", "video": "The distortion of the video is"}
"""What stands before a description that nobody prompted: the distortion tag of the training data."""

VIDEO_PROMPTS = ("line_per_key_frame", "line_per_motion_frame")
"""How a clip is written down: see `ScoringConvention`."""


@dataclass(frozen=True)
class ScoringConvention:
    """Settings that a score depends on besides the weights.

    Args:
        level_values (`tuple[float]`): value of each level, best first.
        answer_prefixes (`dict[str, str]`): text before the level word for `"image"` and `"video"`.
        frame_sampling (`FrameSampling`): which frames of a clip are seen.
        video_prompt (`str`):
            `"line_per_key_frame"`: a line `Frame-i:` for each key frame, then `Motion Feature:` with the motion
            tokens, as in training. `"line_per_motion_frame"`: the authors' scoring script, which writes a line for
            each *motion* frame and fills the lines from the top, first with the key frames, then with all motion
            tokens; the lines left over, and `Motion Feature:`, keep the literal text `<image>`.
    """

    level_values: tuple[float, ...] = LEVEL_VALUES
    answer_prefixes: dict[str, str] = field(default_factory=lambda: dict(DEFAULT_ANSWER_PREFIXES))
    frame_sampling: FrameSampling = FrameSampling()
    video_prompt: str = "line_per_key_frame"


SCORING_CONVENTIONS = {
    "default": ScoringConvention(),
    "released": ScoringConvention(
        level_values=RELEASED_LEVEL_VALUES,
        answer_prefixes={"image": "The quality of this image is", "video": "The overall quality of this video is"},
        frame_sampling=FrameSampling.released_score(),
        video_prompt="line_per_motion_frame",
    ),
    "released_less_token": ScoringConvention(
        level_values=RELEASED_LEVEL_VALUES,
        answer_prefixes={"image": "The quality of this image is", "video": "The quality of this video is"},
        frame_sampling=FrameSampling.released_score_less_token(),
        video_prompt="line_per_motion_frame",
    ),
}
"""By name. `"default"`: bin centres (.9 to .1), the training data's wording, frames limited and evenly spread.
`"released"`: the authors' scoring script, which their published numbers come from: values 1 to .2, other wording,
every frame of a clip seen by the motion encoder. `"released_less_token"`: their faster variant for clips, every fourth
frame.
"""


def scoring_convention(name: str) -> ScoringConvention:
    """A convention by its name.

    Raises:
        ValueError: if there is none of that name, listing those there are.
    """
    if name not in SCORING_CONVENTIONS:
        raise ValueError(f"Unknown scoring convention {name!r}; there are {', '.join(SCORING_CONVENTIONS)}.")
    return SCORING_CONVENTIONS[name]


__all__ = [
    "DEFAULT_ANSWER_PREFIXES",
    "DEFAULT_DESCRIPTION_PREFIXES",
    "SCORING_CONVENTIONS",
    "VIDEO_PROMPTS",
    "ScoringConvention",
    "scoring_convention",
]
