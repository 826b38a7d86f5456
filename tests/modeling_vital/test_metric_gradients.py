"""Gradients of `VitalMetric` against finite differences."""

import pytest
import torch

from modeling_vital import metric as module
from modeling_vital.metric import VitalMetric
from tests.fixtures.tiny_models import tiny_model


def directions(shape, count=4):
    """Smooth random directions, of unit mean square: what a network changes, not the noise of single pixels."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(count, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, shape[-2:], mode="bicubic")
    return smooth / smooth.square().mean((1, 2, 3), keepdim=True).sqrt()


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (90, 61)])  # as it is, in tiles, resized
def test_gradients_are_those_of_finite_differences(size, monkeypatch):
    """Without the rounding to 8 bits, which has no derivative, they agree to a few thousandths."""
    monkeypatch.setattr(module, "_round_to_8_bits", lambda pictures: pictures)
    compare(size, step=5e-4, tolerance=0.003)


def test_equal_tiles_have_gradients_of_their_own():
    metric = VitalMetric(tiny_model("internvl"), as_loss=True)
    picture = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)  # four tiles
    metric(picture).sum().backward()
    quarters = [part.abs().sum() for half in picture.grad.chunk(2, -1) for part in half.chunk(2, -2)]
    assert min(quarters) > 0
    twins = [torch.full((3, 32, 32), 0.5, requires_grad=True) for _ in range(2)]
    metric(torch.stack(twins)).sum().backward()
    assert twins[0].grad.equal(twins[1].grad) or torch.allclose(twins[0].grad, twins[1].grad, rtol=1e-3)


@pytest.mark.parametrize("size", [(32, 32), (64, 48)])
def test_rounding_is_passed_straight_through(size):
    """With it, differences over a few of the 255 steps still have the gradient's size and sign."""
    compare(size, step=1e-2, tolerance=0.3)  # 0.27 with the weights that the lowest versions draw


def compare(size, step, tolerance):
    metric = VitalMetric(tiny_model("internvl"), as_loss=True)
    picture = 0.3 + 0.4 * torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    picture.requires_grad_()
    (gradient,) = torch.autograd.grad(metric(picture).sum(), picture)
    found, expected = [], []
    with torch.no_grad():
        for way in directions(picture.shape):
            ahead, behind = (metric(picture + sign * step * way).item() for sign in (1, -1))
            expected.append((ahead - behind) / (2 * step))
            found.append((gradient[0] * way).sum().item())
    scale = max(map(abs, expected))
    assert scale > 1e-4
    assert found == pytest.approx(expected, abs=tolerance * scale)
