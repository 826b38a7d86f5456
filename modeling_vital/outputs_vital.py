"""Results of the model: plain records for people, model outputs for code."""

from dataclasses import asdict, dataclass, fields

import torch
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast


CACHE_NAME = "cache" if "cache" in {field.name for field in fields(BaseModelOutputWithPast)} else "past_key_values"
"""What transformers calls the decoder's cache, as an argument and in outputs: `cache` from 5.24 on."""


@dataclass(frozen=True)
class QualityScore:
    """Quality of one picture or clip.

    Attributes:
        score (`float`): in [0, 1], higher is better: expectation of the level values.
        std (`float`): standard deviation of the level distribution, on the scale of the score. How unsure the model
            is.
        level (`str`): word of the level nearest to the score.
        level_probs (`dict[str, float]`): probability of each level word, best first; sums to 1.
        modality (`str`): `"image"` or `"video"`.
        mos (`float`, *optional*): with a calibration, the mean opinion that the score stands for, in units of the
            ratings that the calibration was fitted to.
        mos_low, mos_high (`float`, *optional*): with a calibration, the interval in which people's mean opinion of
            this item lies, in the same units; its confidence is the calibration's.
        video_backend (`str`, *optional*): what decoded a clip from a file, `"decord"` or `"pyav"`.
    """

    score: float
    std: float
    level: str
    level_probs: dict[str, float]
    modality: str
    mos: float | None = None
    mos_low: float | None = None
    mos_high: float | None = None
    video_backend: str | None = None

    def to_dict(self) -> dict:
        """The record as plain Python values, ready for JSON; what is optional only where there is any."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Comparison:
    """Comparison of two pictures or clips.

    Attributes:
        probability (`float`): in [0, 1], that A is better than B: Phi((a.score - b.score) / sqrt(a.std^2 + b.std^2)).
        winner (`str`): `"a"`, `"b"`, or `"tie"` where the probability is within the margin of 0.5.
        a, b (`QualityScore`): the two scores.
    """

    probability: float
    winner: str
    a: QualityScore
    b: QualityScore

    def to_dict(self) -> dict:
        """The record as plain Python values, ready for JSON; of the scores, see [`QualityScore.to_dict`]."""
        return {**asdict(self), "a": self.a.to_dict(), "b": self.b.to_dict()}


@dataclass(frozen=True)
class Answer:
    """Answer to a question about a picture or clip.

    Attributes:
        text (`str`): the answer: the likeliest option, or what was generated.
        choice_probs (`dict[str, float]`, *optional*): where there were options, the share of each, in their order:
            softmax of the mean log-probabilities of their tokens; sums to 1.
    """

    text: str
    choice_probs: dict[str, float] | None = None

    def to_dict(self) -> dict:
        """The record as plain Python values, ready for JSON."""
        return asdict(self)


@dataclass
class VitalOutputWithPast(BaseModelOutputWithPast):
    """Output of [`VitalModel`].

    Attributes:
        last_hidden_state (`torch.FloatTensor` of shape `(batch_size, sequence_length, hidden_size)`): decoder states.
        past_key_values (`Cache`, *optional*): the decoder's cache; `cache` from transformers 5.24 on.
        hidden_states, attentions (`tuple[torch.FloatTensor]`, *optional*): of the decoder, when asked for.
        image_hidden_states (`torch.FloatTensor` of shape `(num_tiles, image_seq_length, hidden_size)`, *optional*):
            image tokens after the projector.
        motion_hidden_states (`torch.FloatTensor` of shape `(num_motion_frames, hidden_size)`, *optional*):
            motion tokens after the projector.
    """

    image_hidden_states: torch.Tensor | None = None
    motion_hidden_states: torch.Tensor | None = None


@dataclass
class VitalCausalLMOutputWithPast(CausalLMOutputWithPast):
    """Output of [`VitalForConditionalGeneration`].

    Attributes:
        loss (`torch.FloatTensor` of shape `()`, *optional*): next-token loss, when `labels` are given.
        logits (`torch.FloatTensor` of shape `(batch_size, kept_positions, vocab_size)`): scores of the next token.
        past_key_values, hidden_states, attentions, image_hidden_states, motion_hidden_states: see
        [`VitalOutputWithPast`].
    """

    image_hidden_states: torch.Tensor | None = None
    motion_hidden_states: torch.Tensor | None = None
