"""The loss of a mixed batch by hand, and against numbers of the released code."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from modeling_vital.conversion.convert import convert
from modeling_vital.conversion.parity_case import Constants
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from tests.fixtures import released_losses
from training.losses import PARTS, LossConfig, MultiTaskLoss, multi_task_loss


LEVELS = [0, 1, 2, 3, 4]


def targets_of(labels, level_mask, level_probs, item, pairs=(), preference=(), num_items=None):
    return {
        "labels": torch.as_tensor(labels),
        "level_mask": torch.as_tensor(level_mask),
        "level_probs": torch.as_tensor(level_probs, dtype=torch.float32),
        "item": torch.as_tensor(item),
        "pairs": torch.tensor(pairs, dtype=torch.long).reshape(-1, 2),
        "preference": torch.tensor(preference, dtype=torch.float32),
        "num_items": num_items or max(item) + 1,
    }


def mixed():
    """A single score, a pair and a text: five words of levels, then two others."""
    probs = torch.tensor(
        [
            [[0.1, 0.1, 0.1, 0.1, 0.1, 0.4, 0.1], [0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.2]],
            [[0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.2], [0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]],
            [[0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.3], [0.1, 0.1, 0.1, 0.1, 0.4, 0.1, 0.1]],
            [[0.1, 0.1, 0.1, 0.1, 0.1, 0.4, 0.1], [0.1, 0.1, 0.1, 0.1, 0.1, 0.25, 0.25]],
        ]
    )
    level = [[0.5, 0.5, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    targets = targets_of(
        [[5, 0], [5, 0], [5, 4], [5, 6]],
        [[False, True], [False, True], [False, True], [False, False]],
        level,
        item=[0, 1, 1, 2],
        pairs=[[1, 2]],
        preference=[1.0],
    )
    return probs.log(), targets


def test_levels_alone_are_cross_entropy_and_know_no_distribution():
    logits, targets = mixed()
    loss, parts = multi_task_loss(logits, targets, LEVELS, LossConfig(hard_levels=True, per_token=False))
    kl = dict(zip(PARTS, parts.tolist(), strict=True))["kl"][0]
    # The level words are those of the labels: 0, 0 and 4, each of probability .2 / .7, .4 / .8 and .4 / .8.
    assert kl == pytest.approx(-math.log(0.2 / 0.7) - 2 * math.log(0.4 / 0.8), rel=1e-5)
    other = {**targets, "level_probs": targets["level_probs"].flip(-1)}
    again, _ = multi_task_loss(logits, other, LEVELS, LossConfig(hard_levels=True, per_token=False))
    assert torch.equal(loss, again)


def test_mixed_batch_by_hand_in_the_papers_form():
    logits, targets = mixed()
    config = LossConfig()
    loss, parts = multi_task_loss(logits, targets, LEVELS, config)
    kl_single = math.log(0.5 / (0.2 / 0.7))  # both levels of the target alike
    single = (kl_single - 0.01 * math.log(0.4)) / 2
    kl_pair = -math.log(0.4 / 0.8)
    # A: .5 at .9 and .125 elsewhere; B is its mirror image
    mean = 0.5 * 0.9 + 0.125 * (0.7 + 0.5 + 0.3 + 0.1)
    variance = 0.5 * (0.9 - mean) ** 2 + 0.125 * sum((v - mean) ** 2 for v in (0.7, 0.5, 0.3, 0.1))
    z = (mean - (1 - mean)) / math.sqrt(2 * variance)
    fidelity = 1 - math.sqrt(0.5 * (1 + math.erf(z / math.sqrt(2))))
    prefix_pair = -math.log(0.3) - math.log(0.2)
    pair = fidelity + 0.5 * (2 * kl_pair / 2) + 0.01 * prefix_pair / 4
    text = (-(0.6**2) * math.log(0.4) - 0.75**2 * math.log(0.25)) / 2
    assert loss.mean().item() == pytest.approx((single + pair + text) / 3, abs=2e-4)
    named = dict(zip(PARTS, parts.tolist(), strict=True))
    assert named["kl"] == pytest.approx([kl_single / 2 + kl_pair, 3], abs=1e-5)
    assert named["prefix"] == pytest.approx([-math.log(0.4) / 2 + prefix_pair / 4, 2], abs=1e-5)
    assert named["fidelity"] == pytest.approx([fidelity, 1], abs=2e-4)
    assert named["text"] == pytest.approx([text, 1], abs=1e-5)


def test_mixed_batch_by_hand_in_the_released_form():
    logits, targets = mixed()
    loss, parts = multi_task_loss(logits, targets, LEVELS, LossConfig(loss_form="released"))
    single = math.log(0.5 / 0.2) - 0.05 * math.log(0.4)
    text = -(math.log(0.4) + math.log(0.25)) / 2
    pair_kl, pair_prefix = -2 * math.log(0.4), -(math.log(0.3) + math.log(0.2)) / 2
    fidelity = parts[PARTS.index("fidelity"), 0].item()
    assert 0 < fidelity < 0.3
    expected = (single + text + fidelity + 0.5 * pair_kl + 0.05 * pair_prefix) / 3
    assert loss.mean().item() == pytest.approx(expected, abs=1e-5)


def test_the_loss_of_an_item_does_not_depend_on_the_others():
    logits, targets = mixed()
    both = MultiTaskLoss(LEVELS, LossConfig())
    whole, parts = both(logits, targets)

    def some(rows, **changes):
        chosen = {name: targets[name][rows] for name in ("labels", "level_mask", "level_probs")}
        return both(logits[rows], {**targets_of(*chosen.values(), **changes)})

    single, _ = some([0], item=[0])
    pair, _ = some([1, 2], item=[0, 0], pairs=[[0, 1]], preference=[1.0])
    text, _ = some([3], item=[0])
    assert whole.tolist() == pytest.approx([single.item(), pair.item(), text.item()], abs=1e-6)


def test_text_alone_and_scores_alone_are_finite():
    logits, targets = mixed()
    logits.requires_grad_()
    for rows, item in (([3], [0]), ([0], [0])):
        chosen = {name: targets[name][rows] for name in ("labels", "level_mask", "level_probs")}
        loss, parts = multi_task_loss(logits[rows], targets_of(*chosen.values(), item=item), LEVELS, LossConfig())
        loss.mean().backward()
        assert torch.isfinite(loss).all()
        assert torch.isfinite(logits.grad).all()
        assert parts[PARTS.index("fidelity")].tolist() == [0, 0]


def test_forms_are_defaults_and_fields_override_them():
    assert LossConfig().prefix_weight == 0.01
    config = LossConfig(loss_form="released", prefix_weight=0.2)
    assert (config.prefix_weight, config.focal_beta, config.full_vocabulary) == (0.2, 0.0, True)
    with pytest.raises(ValueError, match="paper, released"):
        LossConfig(loss_form="papr")


# ------------------------------------------------------------------------------------------------- released numbers
PREFERENCE = {"pair1": 1.0, "pair0": 0.0, "pair2": 0.5}


def bf16_shift(target):
    """The released code keeps the entropy of the target in bfloat16: a constant, not a gradient."""
    rounded = target.bfloat16()
    exact = torch.xlogy(rounded.double(), rounded.double())
    return ((rounded * rounded.log()).nan_to_num(0).double() - exact).sum(-1)


@pytest.mark.parametrize("case", released_losses.CASES)
def test_released_form_gives_the_released_numbers_and_gradients(case):
    content = json.loads(released_losses.FILE.read_text())
    numbers = content["cases"][case]
    logits = torch.tensor(content["logits"], requires_grad=True)
    labels = torch.tensor(content["labels"])
    target = torch.tensor(content["target"])
    scored = case != "text"
    level_mask = torch.zeros_like(labels, dtype=torch.bool)
    level_mask[:, 4] = scored  # four words, the level, the end
    pair = case in PREFERENCE
    targets = targets_of(
        labels,
        level_mask,
        target.bfloat16().float(),
        item=[0, 0],
        pairs=[[0, 1]] if pair else [],
        preference=[PREFERENCE[case]] if pair else [],
    )
    config = LossConfig(loss_form="released")
    if case == "pair3_other":  # a pair without a preference: both KL at the weight of a pair, and nothing to rank by
        targets |= {"pairs": torch.tensor([[0, 1]]), "preference": torch.tensor([0.0])}
        config.fidelity_weight = 0.0
    loss, parts = multi_task_loss(logits, targets, LEVELS, config)
    loss.mean().backward()
    shift = bf16_shift(target) if scored else torch.zeros(2)
    weight = 0.5 if case.startswith("pair") else 1.0
    assert loss.mean().item() + weight * shift.sum().item() == pytest.approx(numbers["loss"], abs=2e-6)
    named = dict(zip(PARTS, parts[:, 0].tolist(), strict=True))
    assert named["prefix"] + named["text"] == pytest.approx(numbers["ce"], abs=2e-6)
    if pair:
        assert named["fidelity"] == pytest.approx(numbers["rating_fidelity"], abs=2e-6)
    if scored:
        assert named["kl"] + shift.sum().item() == pytest.approx(sum(numbers["kl"]), abs=2e-6)
        at_level = logits.grad[torch.arange(2), 4][:, LEVELS]
        assert torch.allclose(at_level, torch.tensor(numbers["grad_level_rows"]), atol=2e-6)


GRADIENTS = {
    "mlp1.1.weight": "model.multi_modal_projector.linear_1.weight",
    "language_model.model.layers.0.mlp.down_proj.weight": "model.language_model.layers.0.mlp.down_proj.weight",
    "language_model.model.layers.0.self_attn.o_proj.weight": "model.language_model.layers.0.self_attn.o_proj.weight",
    "vision_model.encoder.layers.0.mlp.fc1.weight": "model.vision_tower.encoder.layer.0.mlp.fc1.weight",
    "vision_model.encoder.layers.0.attn.proj.weight": (
        "model.vision_tower.encoder.layer.0.attention.projection_layer.weight"
    ),
}


@pytest.fixture(scope="module")
def released(official, tmp_path_factory):
    model_dir = convert(str(official / "tinyA"), tmp_path_factory.mktemp("tinyA") / "converted")
    return official, VitalForConditionalGeneration.from_pretrained(model_dir, dtype=torch.float32).eval()


@pytest.mark.slow
@pytest.mark.parametrize("case", ["pair_label1", "pair_label0", "pair_label2", "dist", "text", "text_clean"])
def test_released_losses_and_gradients_through_the_model(released, case):
    folder, model = released
    model.zero_grad()
    tensors = load_file(folder / "tinyA" / "loss_batches.safetensors")
    batch = {name.removeprefix(f"{case}."): t for name, t in tensors.items() if name.startswith(f"{case}.")}
    numbers = json.loads((folder / "tinyA" / "losses.json").read_text())[case]
    constants = Constants.read(folder / "common")
    model.config.image_token_id = constants.context_id
    inputs = load_file(folder / "common" / "inputs.safetensors")
    pixels = torch.cat([inputs["image3_u8"], inputs["image1x2_u8"]]).float() / 255
    pixels = (pixels - torch.tensor(constants.mean).view(3, 1, 1)) / torch.tensor(constants.std).view(3, 1, 1)
    given = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
    logits = model(**given, pixel_values=pixels).logits[:, :-1]

    scored, pair = "level" in numbers, case.startswith("pair")
    level_mask = torch.zeros_like(batch["labels"][:, 1:], dtype=torch.bool)
    target = torch.zeros(2, 5)
    if scored:
        level_mask[torch.arange(2), torch.tensor(numbers["level_token_index"]) - 1] = True
        target = torch.tensor(numbers["target_dist"])
    preference = [{"1": 1.0, "0": 0.0, "2": 0.5}[case[-1]]] if pair else []
    targets = targets_of(
        batch["labels"][:, 1:],
        level_mask,
        target.bfloat16().float(),
        item=[0, 0],
        pairs=[[0, 1]] if pair else [],
        preference=preference,
    )
    loss, parts = multi_task_loss(logits, targets, constants.levels, LossConfig(loss_form="released"))
    loss.mean().backward()
    shift = (0.5 if pair else 1.0) * bf16_shift(target).sum().item() if scored else 0.0
    assert loss.mean().item() + shift == pytest.approx(numbers["loss"], abs=2e-5)
    file = folder / "tinyA" / f"grads_{case}.safetensors"
    if file.exists():
        theirs = load_file(file)
        for name, ours in GRADIENTS.items():
            expected = theirs[name]
            assert torch.allclose(model.get_parameter(ours).grad, expected, atol=1e-4 * expected.abs().max()), name
