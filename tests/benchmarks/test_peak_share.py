"""Operations are counted as by hand, attention included, and an operator's share is that of its time."""

import pytest
import torch
import torch.nn.functional as F

from benchmarks.machine import matmul_gflops
from benchmarks.sections.peak_share import count_flops, operators


@torch.no_grad()
def test_products_and_fused_attention_are_counted():
    a, b = torch.randn(8, 16), torch.randn(16, 4)
    assert count_flops(lambda: a @ b) == 2 * 8 * 16 * 4
    q, k, v = torch.randn(3, 1, 2, 10, 4)
    assert count_flops(lambda: F.scaled_dot_product_attention(q, k, v)) == 2 * 2 * (2 * 10 * 10 * 4)


@torch.no_grad()
def test_the_operator_that_does_the_work_has_most_of_the_time():
    a = torch.randn(512, 512)
    shares = operators(lambda: (a @ a).relu_())
    assert sum(shares.values()) == pytest.approx(1)
    assert next(iter(shares)) == "mm"


def test_the_peak_is_a_rate():
    assert 0.01 < matmul_gflops(torch.float32, size=64) < 1e5
