"""The metric scores tensors as `model.score` scores pictures, and its gradients make pictures better."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from modeling_vital.metric import VitalMetric, make_tiles
from tests.fixtures.tiny_models import tiny_model
from tests.modeling_vital.test_modeling import picture
from tests.test_embedded_checkpoint import PHOTOS


SIZES = [None, (300, 200), (97, 150), (640, 96), (33, 32)]


def as_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255


@pytest.fixture(scope="module")
def trained():
    return VitalMetric(device="cpu")


@pytest.fixture(scope="module")
def metric():
    return VitalMetric(tiny_model())


@pytest.fixture(scope="module")
def loss():
    return VitalMetric(tiny_model(), as_loss=True)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_tensors_score_as_their_pictures_do(trained, size):
    for photo in PHOTOS[:2]:
        image = Image.open(photo).convert("RGB")
        image = image if size is None else image.resize(size)
        processor = trained.model.processor.image_processor
        tiles, expected = make_tiles(as_tensor(image), processor)[0], processor.preprocess([image])["pixel_values"]
        assert tiles.shape == expected.shape
        greys = (tiles - expected).abs() * torch.tensor(processor.image_std)[:, None, None] * 255
        assert greys.max() < 2.5 and (greys > 0.5).float().mean() < 0.01
        assert trained(as_tensor(image)).item() == pytest.approx(trained.model.score(image).score, abs=0.005)


def test_released_checkpoints_score_as_their_pictures_do():
    model = tiny_model()
    model.use_scoring("released")
    model.processor.image_processor.tile_rule = "area"
    model.processor.single_tile_copies = 2
    metric = VitalMetric(model)
    assert metric.score_range == (0.2, 1.0)
    for size in ((30, 36), (64, 120)):  # one tile, shown twice, and several
        image = Image.open(PHOTOS[0]).convert("RGB").resize(size)
        assert metric(as_tensor(image)).item() == pytest.approx(model.score(image).score, abs=0.005)


def test_a_batch_scores_as_its_pictures(metric):
    batch = torch.cat([as_tensor(picture(seed)) for seed in range(3)])
    scores = metric(batch)
    assert scores.shape == (3,) and scores.dtype == torch.float32 and not scores.requires_grad
    assert scores.tolist() == pytest.approx([metric(one[None]).item() for one in batch], abs=1e-5)
    assert len({round(s, 5) for s in scores.tolist()}) == 3
    assert metric(batch.double()).tolist() == pytest.approx(scores.tolist(), abs=1e-6)


def test_looks_like_a_pyiqa_metric(metric):
    assert metric.lower_better is False
    assert metric.score_range == (0.1, 0.9)
    assert metric.metric_mode == "NR"
    low, high = metric.score_range
    assert low <= metric(as_tensor(picture())).item() <= high


def test_gradients_only_where_asked_for(metric, loss):
    pixels = as_tensor(picture()).requires_grad_()
    assert not metric(pixels).requires_grad
    scores = loss(pixels)
    assert scores.requires_grad
    with torch.no_grad():
        assert not loss(pixels).requires_grad
    assert loss(as_tensor(picture())).requires_grad is False  # nothing here needs a gradient
    scores.sum().backward()
    assert pixels.grad.abs().sum() > 0
    assert not any(p.requires_grad or p.grad is not None for p in loss.model.parameters())


def test_gradients_agree_with_differences(loss, monkeypatch):
    monkeypatch.setattr("modeling_vital.metric._round_to_8_bits", lambda pictures: pictures)  # it has steps
    torch.manual_seed(0)
    pixels = 0.3 + 0.4 * as_tensor(picture(1, 64, 32))
    pixels.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(pixels).sum(), pixels)
    direction = gradient / gradient.norm()
    step = 0.02
    with torch.no_grad():
        slope = (loss(pixels + step * direction) - loss(pixels - step * direction)).item() / (2 * step)
    assert slope == pytest.approx((gradient * direction).sum().item(), rel=0.03)


def test_rounding_lets_gradients_through(loss):
    pixels = as_tensor(picture(1, 64, 32)).requires_grad_()
    between = (pixels.detach() + 0.4 / 255).clamp(0, 1).requires_grad_()
    gradients = [torch.autograd.grad(loss(p).sum(), p)[0] for p in (pixels, between)]
    assert loss(pixels).item() == pytest.approx(loss(between).item(), abs=1e-6)
    torch.testing.assert_close(*gradients)


def test_rows_of_a_batch_have_gradients_of_their_own(loss):
    pixels = torch.cat([as_tensor(picture(seed)) for seed in range(2)]).requires_grad_()
    loss(pixels)[0].backward()
    assert pixels.grad[0].abs().sum() > 0
    assert pixels.grad[1].abs().sum() == 0


def test_gradient_steps_raise_the_score_of_a_blurred_picture():
    metric = VitalMetric(as_loss=True, device="cpu")
    sharp = Image.open(PHOTOS[0]).convert("RGB").resize((192, 160))
    pixels = as_tensor(sharp.filter(ImageFilter.GaussianBlur(3))).requires_grad_()
    start = metric(pixels).item()
    for _ in range(8):
        (gradient,) = torch.autograd.grad((1 - metric(pixels)).sum(), pixels)
        pixels = (pixels - 0.01 * gradient / gradient.abs().max()).clamp(0, 1).detach().requires_grad_()
    assert metric(pixels).item() > start + 0.01
    changed = Image.fromarray((pixels[0].detach() * 255).round().byte().permute(1, 2, 0).numpy())
    assert metric.model.score(changed).score > start + 0.01  # also for the path that files take


def test_pictures_of_several_sizes(metric, loss):
    generator = torch.Generator().manual_seed(0)
    sizes = [(64, 96), (200, 40), (64, 96), (33, 33)]
    pictures = [torch.rand(3, *size, generator=generator) for size in sizes]
    together = metric(pictures)
    alone = torch.cat([metric(picture[None]) for picture in pictures])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    assert torch.equal(metric(tuple(pictures)), together)
    leaves = [picture.clone().requires_grad_() for picture in pictures]
    loss(leaves).sum().backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves)


def test_scores_are_float32_under_autocast(loss):
    pixels = torch.cat([as_tensor(picture(seed)) for seed in range(3)])
    with torch.autocast("cpu", torch.bfloat16):
        scores = loss(pixels.requires_grad_())
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())
    (gradient,) = torch.autograd.grad(scores.sum(), pixels)
    assert gradient.isfinite().all() and gradient.flatten(1).abs().sum(1).all()


def test_stays_in_evaluation_mode_inside_a_training_network(loss):
    network = torch.nn.ModuleList([loss]).train()
    assert network.training and not loss.model.training
    assert not any(module.training for module in loss.model.modules())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(3, 8, 8), r"\[3, 8, 8\]"),
        (torch.zeros(1, 1, 8, 8), r"\[1, 1, 8, 8\]"),
        (torch.zeros(0, 3, 8, 8), r"\[0, 3, 8, 8\]"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "uint8"),
        (np.zeros((1, 3, 8, 8)), "float64"),
        ("photo.jpg", " str; `model.score`"),
        ([], "empty list"),
        ([torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8)], r"item 1 .*\[1, 3, 8, 8\]"),
        ([torch.zeros(3, 8, 8), np.zeros((3, 8, 8))], "item 1 .*ndarray"),
        (torch.full((1, 3, 8, 8), 255.0), "255"),
        (torch.full((1, 3, 8, 8), float("nan")), "picture 0 .* 192 .*NaN.* row 0, column 0"),
        (torch.tensor([0.0, float("nan"), 255.0])[:, None, None, None].expand(3, 3, 8, 8), "picture 1 .* 192 .*NaN"),
        ([torch.zeros(3, 8, 9), torch.zeros(3, 8, 8), torch.full((3, 8, 9), 2.0)], "picture 2 .* 2 to 2"),
        ([torch.zeros(3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)], "uint8"),
    ],
)
def test_wrong_input_is_refused(metric, value, message):
    with pytest.raises(ValueError, match=message):
        metric(value)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda", 0)])
def test_a_device_that_is_not_there_is_named(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'cuda.*`device`"):
        VitalMetric(device=device)


def test_a_filter_that_torch_does_not_have_is_refused():
    model = tiny_model()
    model.processor.image_processor.resample = Image.Resampling.LANCZOS.value
    with pytest.raises(ValueError, match="filter 1"):
        VitalMetric(model)
