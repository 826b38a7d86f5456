"""Quality as a reward, with the signature of TRL's reward functions."""

import functools
import logging
import math
from collections.abc import Sequence
from typing import Any

import torch

from .assessment_vital import VitalScoringMixin
from .media_vital import MediaError
from .modeling_vital import VitalForConditionalGeneration


logger = logging.getLogger(__name__)


def quality_reward(
    completions: Sequence[Any],
    prompts: Sequence[Any] | None = None,
    *,
    model: str | VitalScoringMixin = "vital-tiny",
    batch_size: int = 8,
    **columns: Any,
) -> list[float | None]:
    """Scores what was generated: a batch in, a list of rewards out, for `reward_funcs` of TRL's trainers.

    TRL passes everything by name: the prompts, the completions, and the other columns of the data set, which are not
    looked at. To set the model, wrap the function: `functools.partial(quality_reward, model=model)`.

    Args:
        completions (`Sequence`):
            One a prompt: a picture or clip as `model.score` takes it (a path, a PIL image, an array, a list of
            frames), or a conversation, of which the last picture or clip counts. Text that was generated is no
            picture: make one of it first, in a reward function of your own that calls this one.
        prompts (`Sequence`, *optional*): not looked at.
        model (`str` or a model, *optional*, defaults to `"vital-tiny"`):
            A name of the zoo, a folder or a Hub id, which is loaded once, or a model in evaluation mode.
        batch_size (`int`, *optional*, defaults to 8): items a forward pass.
        columns: other columns. Of what TRL passes, `log_metric` is called with the share of items without a reward.

    Returns:
        `list[float | None]`: a score for each completion, in [0, 1], higher is better; `None` for one that holds
        nothing that can be scored, which TRL leaves out of its means. What is wrong with it is logged.

    Example:

    ```python
    >>> from modeling_vital.rewards import quality_reward

    >>> quality_reward(completions=["photo.jpg", "no such file.jpg"])
    [0.64, None]
    ```
    """
    scorer = _load(model) if isinstance(model, str) else model
    items = [_media_of(completion) for completion in completions]
    found = [place for place, item in enumerate(items) if not isinstance(item, MediaError)]
    results = scorer.score([items[place] for place in found], batch_size=batch_size, errors="return")
    for place, result in zip(found, results, strict=True):
        items[place] = result
    rewards = []
    for place, result in enumerate(items):
        if isinstance(result, MediaError):
            logger.warning("Completion %d of %d has no reward: %s", place, len(items), result)
        failed = isinstance(result, MediaError) or not math.isfinite(result.score)
        rewards.append(None if failed else result.score)
    if items and callable(log_metric := columns.get("log_metric")):
        log_metric("quality_reward/none", rewards.count(None) / len(rewards))
    return rewards


@functools.lru_cache(maxsize=1)
def _load(name: str) -> VitalForConditionalGeneration:
    model = VitalForConditionalGeneration.from_pretrained(name)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _media_of(completion: Any) -> Any:
    """The media item of a completion: itself, or the last one of a conversation."""
    if not isinstance(completion, list) or not completion or not all(_is_message(part) for part in completion):
        return completion
    for message in reversed(completion):
        content = message["content"]
        for part in reversed(content if isinstance(content, list) else []):
            kind = part.get("type") if isinstance(part, dict) else None
            if kind in ("image", "video") and part.get(kind) is not None:
                return part[kind]
    return MediaError("the conversation holds no picture or clip; give one as a part of type 'image' or 'video'.")


def _is_message(part: Any) -> bool:
    return isinstance(part, dict) and "role" in part and "content" in part


__all__ = ["quality_reward"]
