"""Quality as a loss: a denoiser learns with and without it. `python -m training.examples.denoise PHOTOS OUTPUT.png`.

A network of a few convolutions takes noise out of photos. It is trained three times: to come close to the clean photo
(L1), to please the score alone, and with a little of the score beside L1. The picture that is written shows what each
has learned, with its score and its distance from the clean photo (PSNR).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import nn

from modeling_vital import load_media
from modeling_vital.metric import VitalMetric
from modeling_vital.whole_files import require_output_folder


LOSSES = {"L1": (1.0, 0.0), "score alone": (0.0, 1.0), "L1 + score": (1.0, 0.05)}
"""Weights of L1 and of `1 - score`."""

NOISE = 0.1
SIDE = 128


class Denoiser(nn.Module):
    """Four convolutions that say what to take away from a picture."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 16, 16, 16, 3]
        layers: list[nn.Module] = []
        for wide, narrow in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(wide, narrow, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        nn.init.zeros_(self.layers[-1].weight)  # begins by changing nothing

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures `[B, 3, H, W]` in [0, 1] in, the like out."""
        return (pictures - self.layers(pictures)).clamp(0, 1)


def crops(photos: Sequence[np.ndarray], count: int, generator: np.random.Generator) -> torch.Tensor:
    """Random squares of photos, `[count, 3, SIDE, SIDE]` in [0, 1]."""
    parts = []
    for _ in range(count):
        photo = photos[generator.integers(len(photos))]
        top, left = (generator.integers(size - SIDE + 1) for size in photo.shape[:2])
        parts.append(photo[top : top + SIDE, left : left + SIDE])
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float() / 255


def with_noise(pictures: torch.Tensor, seed: int) -> torch.Tensor:
    """Pictures with Gaussian noise, within [0, 1]."""
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(seed))
    return (pictures + NOISE * noise).clamp(0, 1)


def train(photos: Sequence[np.ndarray], metric: VitalMetric, weights: tuple[float, float], steps: int) -> Denoiser:
    """Trains a denoiser.

    Args:
        photos (`Sequence[np.ndarray]`): uint8 `[H, W, 3]`, at least `SIDE` wide and high.
        metric (`VitalMetric`): made with `as_loss=True`.
        weights (`tuple[float, float]`): of L1 and of `1 - score`.
        steps (`int`): of training.
    """
    torch.manual_seed(0)
    network, generator = Denoiser(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for step in range(steps):
        clean = crops(photos, 4, generator)
        restored = network(with_noise(clean, step))
        loss = weights[0] * F.l1_loss(restored, clean)
        if weights[1]:
            loss = loss + weights[1] * (1 - metric(restored)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def psnr(picture: torch.Tensor, clean: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in decibels, higher is closer."""
    return -10 * F.mse_loss(picture, clean).log10().item()


def compare(
    photos: Sequence[np.ndarray], steps: int
) -> tuple[dict[str, torch.Tensor], dict[str, tuple[float, float]]]:
    """Trains on all photos but the last, and restores the middle of that one.

    Returns:
        `tuple[dict, dict]`: name -> the picture `[3, SIDE, SIDE]`; name -> its score and PSNR (infinite for the clean
        one).
    """
    metric = VitalMetric(as_loss=True, device="cpu")
    top, left = ((size - SIDE) // 2 for size in photos[-1].shape[:2])
    clean = torch.from_numpy(photos[-1][top : top + SIDE, left : left + SIDE].copy()).permute(2, 0, 1)[None] / 255
    noisy = with_noise(clean, seed=10**6)
    pictures = {"clean": clean, "noisy": noisy}
    for name, weights in LOSSES.items():
        network = train(photos[:-1], metric, weights, steps)
        with torch.no_grad():
            pictures[name] = network(noisy)
    with torch.no_grad():
        numbers = {
            n: (metric(p).item(), psnr(p, clean) if n != "clean" else float("inf")) for n, p in pictures.items()
        }
    return {name: picture[0] for name, picture in pictures.items()}, numbers


def sheet(pictures: dict[str, torch.Tensor], numbers: dict[str, tuple[float, float]]) -> Image.Image:
    """The pictures side by side with their names, scores and PSNR."""
    side, foot = SIDE * 2, 34
    drawing = Image.new("RGB", (len(pictures) * (side + 6) - 6, side + foot), "white")
    draw = ImageDraw.Draw(drawing)
    for place, (name, picture) in enumerate(pictures.items()):
        pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
        shown = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
        drawing.paste(shown, (place * (side + 6), 0))
        score, distance = numbers[name]
        draw.text((place * (side + 6) + 4, side + 4), name, fill="black")
        draw.text((place * (side + 6) + 4, side + 18), f"score {score:.2f}, PSNR {distance:.1f} dB", fill="black")
    return drawing


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, prints the numbers and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder of .jpg photos; the last by name is held out")
    parser.add_argument("output", type=Path, help="the picture to write")
    parser.add_argument("--steps", type=int, default=150, help="of each training (default: %(default)s)")
    args = parser.parse_args(argv)
    paths = sorted(args.photos.glob("*.jpg"))
    if len(paths) < 2:
        parser.error(f"{args.photos} has {len(paths)} .jpg photos; give a folder with two or more.")
    photos = [np.asarray(load_media(path)) for path in paths]
    if small := [path.name for path, photo in zip(paths, photos, strict=True) if min(photo.shape[:2]) < SIDE]:
        parser.error(f"{small[0]} is smaller than {SIDE} pixels; give larger photos.")
    require_output_folder(parser, "output", args.output.parent)
    pictures, numbers = compare(photos, args.steps)
    sheet(pictures, numbers).save(args.output)
    for name, (score, distance) in numbers.items():
        sys.stdout.write(f"{name:<12} score {score:.3f}  PSNR {distance:5.1f} dB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
