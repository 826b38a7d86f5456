"""Operations are counted as by hand, attention included, and an operator's share is that of its time."""

import pytest
import torch

from benchmarks.cases import random_model
from benchmarks.machine import matmul_gflops
from benchmarks.sections.peak_share import count_flops, operators


@torch.no_grad()
def test_products_convolutions_and_attention_of_a_model_are_counted():
    model = random_model("toy", torch.bfloat16, packed=False)
    tokens, width, inner = 17, 32, 64
    layer = tokens * (4 * width**2 + 2 * width * inner) + 2 * tokens**2 * width
    projector = 4 * (4 * width * width + width * width)
    products = 16 * 3 * 14**2 * width + 2 * layer + projector
    tile = torch.randn(1, 3, 56, 56)
    assert count_flops(lambda: model.model.encode_tiles(tile)) == 2 * products


@torch.no_grad()
def test_the_operator_that_does_the_work_has_most_of_the_time():
    a = torch.randn(512, 512)
    shares = operators(lambda: (a @ a).relu_())
    assert sum(shares.values()) == pytest.approx(1)
    assert next(iter(shares)) == "mm"


def test_the_peak_is_a_rate():
    assert 0.01 < matmul_gflops(torch.float32, size=64) < 1e5
