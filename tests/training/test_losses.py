import math

import pytest
import torch
import torch.nn.functional as F

from training.losses import fidelity_loss, focal_token_loss, pmod_kl_loss


def test_pmod_kl_by_hand():
    logits = torch.log(torch.tensor([[0.2, 0.2, 0.1, 0.1, 0.1, 0.3]]))  # five levels and one other word
    target = torch.tensor([[0.5, 0.5, 0.0, 0.0, 0.0]])
    levels = [0, 1, 2, 3, 4]
    over_levels = math.log(0.5 / (0.2 / 0.7))
    assert pmod_kl_loss(logits, levels, target).item() == pytest.approx(over_levels, abs=1e-6)
    assert pmod_kl_loss(logits, levels, target, full_vocabulary=True).item() == pytest.approx(math.log(2.5), abs=1e-6)


def test_pmod_kl_is_zero_at_the_target_and_finite_at_extremes():
    target = torch.tensor([[0.1, 0.2, 0.4, 0.2, 0.1], [1.0, 0.0, 0.0, 0.0, 0.0]])
    logits = torch.log(target + 1e-30)[:, [4, 3, 2, 1, 0]]
    assert torch.allclose(pmod_kl_loss(logits, [4, 3, 2, 1, 0], target), torch.zeros(2), atol=1e-5)
    extreme = torch.tensor([[-1e4, 0.0, 0.0, 0.0, 1e4]], requires_grad=True)
    loss = pmod_kl_loss(extreme, [0, 1, 2, 3, 4], target[:1]).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(extreme.grad).all()


def test_fidelity_by_hand():
    # means .7 and .3; P(level) .5/.5 around each: variance .04 each; P = Phi(.4 / sqrt(.08))
    a = torch.tensor([[0.5, 0.0, 0.5, 0.0, 0.0]])
    b = torch.tensor([[0.0, 0.0, 0.5, 0.0, 0.5]])
    p = 0.5 * (1 + math.erf(0.4 / math.sqrt(0.08) / math.sqrt(2)))
    expected = {1.0: 1 - math.sqrt(p), 0.0: 1 - math.sqrt(1 - p), 0.5: 1 - math.sqrt(p / 2) - math.sqrt((1 - p) / 2)}
    for preference, value in expected.items():
        assert fidelity_loss(a, b, torch.tensor([preference])).item() == pytest.approx(value, abs=2e-4)


def test_fidelity_detaches_the_spread():
    a = torch.tensor([[0.3, 0.2, 0.2, 0.2, 0.1]], requires_grad=True)
    b = torch.tensor([[0.1, 0.2, 0.2, 0.2, 0.3]])
    fidelity_loss(a, b, torch.ones(1)).sum().backward()
    # with the spread detached the gradient is a multiple of the level values, nothing else
    values = torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1])
    assert torch.allclose(a.grad[0] / a.grad[0, 0], values / values[0], atol=1e-5)


def test_focal_by_hand_and_as_cross_entropy():
    logits = torch.log(torch.tensor([[0.9, 0.1], [0.25, 0.75]]))
    labels = torch.tensor([0, 0])
    expected = [0.1**2 * -math.log(0.9), 0.75**2 * -math.log(0.25)]
    assert focal_token_loss(logits, labels).tolist() == pytest.approx(expected, abs=1e-6)
    plain = F.cross_entropy(logits, labels, reduction="none")
    assert focal_token_loss(logits, labels, beta=0).tolist() == pytest.approx(plain.tolist())
