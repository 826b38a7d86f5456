"""Our side of a parity check: what our model makes of a case, named as the released code's numbers are."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import cast

import torch
from torch import nn

from ..levels_vital import RELEASED_LEVEL_VALUES, expected_score
from ..modeling_vital import VitalForConditionalGeneration
from .parity_case import Case, Constants


STILL_REPEATS = 4
"""How often the released code repeats a picture's tiles in time for the motion encoder."""

TRAINING_LEVEL_VALUES = (4.5, 3.5, 2.5, 1.5, 0.5)

Tensors = dict[str, torch.Tensor]


@torch.no_grad()
def run_case(model: VitalForConditionalGeneration, case: Case, constants: Constants) -> Tensors:
    """Runs a case through our model and keeps what passes between its parts.

    Args:
        model (`VitalForConditionalGeneration`): in single precision and evaluation mode.
        case (`Case`): one row of text and its pixels.
        constants (`Constants`): normalisation and ids.

    Returns:
        `dict[str, torch.Tensor]`: features under the released code's names, those of layers for all positions
        (`"llm_layer0"`, not `"llm_layer0_last8"`; see `find_tensor`).
    """
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (constants.mean, constants.std))
    pixels = (case.pixels.float().div(255) - mean) / std
    ids = case.tensors["input_ids"].clone()
    used = set(ids.flatten().tolist())
    model.config.image_token_id = constants.context_id
    model.config.motion_token_id = next(token for token in range(len(used) + 1) if token not in used)
    shown = pixels[case.shown]
    inputs = {"pixel_values": shown}
    seen: Tensors = {}
    with _listening(model, seen):
        if case.is_video:
            # The released code has one placeholder for both; the motion tokens follow the image tokens.
            places = (ids == constants.context_id).nonzero()[-len(pixels) :]
            ids[places[:, 0], places[:, 1]] = model.config.motion_token_id
            inputs |= {"motion_values": pixels, "motion_lengths": torch.tensor([len(pixels)])}
        else:  # the released code computes a picture's motion feature too, and multiplies it by zero
            model.model.get_motion_features(
                pixels.repeat(STILL_REPEATS, 1, 1, 1), torch.tensor([STILL_REPEATS * len(pixels)])
            )
        model.model(input_ids=ids, use_cache=False, **inputs)
    # Our model encodes a tile that repeats the one before it once; the released code's numbers have every tile.
    place = torch.tensor([0, *(not torch.equal(a, b) for a, b in pairwise(shown))]).cumsum(0)
    return {name: value[place] if name.startswith(("vit_", "mlp1_")) else value for name, value in seen.items()}


@torch.no_grad()
def find_tensor(
    name: str, theirs: torch.Tensor, seen: Tensors, model: VitalForConditionalGeneration, levels: list[int]
) -> torch.Tensor | None:
    """Our side of one tensor of a case file, or `None` where nothing here computes it.

    Args:
        name (`str`): name in the file, which may end in the positions kept: `_last8`, `_cls_and_first3`.
        theirs (`torch.Tensor`): what the file holds.
        seen (`dict[str, torch.Tensor]`): what `run_case` returned.
        model (`VitalForConditionalGeneration`): for its head.
        levels (`list[int]`): ids of the level words, best first.
    """
    hidden_states = seen["hidden_states"][0]  # [L, C]
    if name == "llm_final_norm":
        return hidden_states[None, -theirs.shape[1] :]
    if name == "logits_pos0_levels":
        return hidden_states @ cast(torch.Tensor, model.lm_head.weight)[levels].T
    if match := re.fullmatch(r"logits_last(\d+)", name):
        return model.lm_head(hidden_states[-int(match[1]) :])
    if match := re.fullmatch(r"(llm_layer\d+)_last(\d+)", name):
        return seen[match[1]][:, -int(match[2]) :] if match[1] in seen else None
    if match := re.fullmatch(r"(vit_layer\d+)_cls_and_first(\d+)", name):
        return seen[match[1]][:, : 1 + int(match[2])] if match[1] in seen else None
    return seen.get(name)


@contextmanager
def _listening(model: VitalForConditionalGeneration, seen: Tensors) -> Iterator[None]:
    """Keeps what passes between the parts of the model, in the shapes that the released code's numbers have."""
    parts = model.model
    handles = []

    def keep(module: nn.Module, name: str, shape: Callable[[torch.Tensor], torch.Tensor] = lambda output: output):
        def hook(_module, _args, output):
            output = output[0] if isinstance(output, tuple) else output
            value = shape(getattr(output, "last_hidden_state", output))
            many = name in seen and name.startswith(("vit_", "mlp1_"))  # tiles are encoded some at a time
            seen[name] = torch.cat([seen[name], value]) if many else value

        handles.append(module.register_forward_hook(hook))

    keep(parts.vision_tower, "vit_last_hidden_state")
    for i, layer in enumerate(parts.vision_tower.encoder.layer):
        keep(layer, f"vit_layer{i}")
    keep(parts.multi_modal_projector, "mlp1_out")
    for i, layer in enumerate(getattr(parts.language_model, "layers", ())):
        keep(layer, f"llm_layer{i}")
    keep(parts.language_model, "hidden_states")
    encoder = parts.motion_encoder
    for i, stage in enumerate([encoder.stem_pool, *(blocks[-1] for blocks in encoder.stages)]):
        keep(stage, f"sf_block{i}_fast_mean", lambda video: video.mean(dim=(3, 4)))
    keep(encoder, "slowfast_fast_feature", lambda frames: frames.transpose(1, 2)[..., None, None])
    keep(parts.motion_projector, "motion_mlp_out")
    handles.append(
        parts.motion_projector.register_forward_pre_hook(lambda _module, args: seen.update(motion_mlp_in=args[0]))
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def compute_scores(
    model: VitalForConditionalGeneration, case: Case, seen: Tensors, levels: list[int]
) -> dict[str, dict]:
    """The numbers of `scores.json` at the positions that it has for the case.

    Args:
        model (`VitalForConditionalGeneration`): for its head.
        case (`Case`): names the positions.
        seen (`dict[str, torch.Tensor]`): what `run_case` returned.
        levels (`list[int]`): ids of the level words, best first.

    Returns:
        `dict[str, dict]`: by position, the numbers by name.
    """
    ids = case.tensors["input_ids"][0].tolist()
    results = {}
    for position in case.scores:
        if match := re.fullmatch(r"position_minus(\d+)", position):
            index = len(ids) - int(match[1])
        elif position == "level_position_minus1":
            index = max((i for i, token in enumerate(ids) if token in levels), default=0) - 1
        else:
            continue
        results[position] = _scores_at(model.lm_head(seen["hidden_states"][0, index]), levels)
    return results


def _scores_at(logits: torch.Tensor, levels: list[int]) -> dict:
    """Probabilities and scores from the logits of one position, by both released conventions."""
    level_logits = logits[levels]
    closed = level_logits.double().softmax(-1)
    # Training takes the softmax over the whole vocabulary, and does not divide by the mass of the five levels.
    opened = logits.float().softmax(-1)[levels].double()
    values = opened.new_tensor(TRAINING_LEVEL_VALUES)
    mean = opened @ values
    return {
        "level_logits_high_good_fair_poor_low": level_logits,
        "closed_softmax": closed,
        "score_rating_1_to_0p2": expected_score(closed, RELEASED_LEVEL_VALUES),
        "closed_expect_4p5_to_0p5": expected_score(closed, TRAINING_LEVEL_VALUES),
        "train_full_vocab_probs": opened,
        "train_score_4p5_to_0p5_unnormalised": mean,
        "train_std": (opened * (values - mean) ** 2).sum().sqrt(),
    }
