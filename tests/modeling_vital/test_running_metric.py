"""`VitalQuality`: the mean of `VitalMetric`, however pictures are cut into batches and shared out to processes."""

import sys

import pytest
import torch

from modeling_vital.metric import VitalMetric
from tests.fixtures.tiny_models import tiny_model


pytest.importorskip("torchmetrics")

from modeling_vital.running_metric import VitalQuality  # noqa: E402


PICTURES = torch.rand(5, 3, 48, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def expected():
    return VitalMetric(tiny_model())(PICTURES).double().mean()


def test_the_mean_does_not_depend_on_batches(expected):
    quality = VitalQuality(tiny_model())
    for batch in PICTURES.split([2, 1, 2]):
        quality.update(batch)
    torch.testing.assert_close(quality.compute(), expected, rtol=0, atol=1e-6)


def test_a_call_gives_the_batch_and_adds_to_the_whole(expected):
    quality, scores = VitalQuality(tiny_model()), VitalMetric(tiny_model())(PICTURES).double()
    torch.testing.assert_close(quality(PICTURES[:2]), scores[:2].mean(), rtol=0, atol=1e-6)
    torch.testing.assert_close(quality(PICTURES[2:]), scores[2:].mean(), rtol=0, atol=1e-6)
    torch.testing.assert_close(quality.compute(), expected, rtol=0, atol=1e-6)


def test_reset_forgets(expected):
    quality = VitalQuality(tiny_model())
    quality.update(torch.zeros(3, 3, 48, 40))
    quality.reset()
    assert quality.pictures == 0 and quality.total == 0
    quality.update(PICTURES)
    torch.testing.assert_close(quality.compute(), expected, rtol=0, atol=1e-6)


def test_two_states_merge_into_one(expected):
    first, second = VitalQuality(tiny_model()), VitalQuality(tiny_model())
    first.update(PICTURES[:4])
    second.update(PICTURES[4:])
    first.merge_state(second)
    torch.testing.assert_close(first.compute(), expected, rtol=0, atol=1e-6)


def test_it_goes_into_a_collection_and_carries_no_gradient():
    from torchmetrics import MetricCollection

    pictures = PICTURES.clone().requires_grad_()
    found = MetricCollection([VitalQuality(tiny_model())])(pictures)
    assert not found["VitalQuality"].requires_grad


def test_the_sum_grows_in_float64_whatever_the_module_is_moved_to():
    quality = VitalQuality(tiny_model()).to(torch.bfloat16)
    quality.vital.float()
    quality.total.fill_(2.0**13)  # from here on bfloat16 counts in steps of 64
    quality.update(PICTURES)
    assert quality.total.dtype == torch.float64 and quality.total > 2.0**13


def test_no_picture_is_no_number():
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert torch.isnan(VitalQuality(tiny_model()).compute())


@pytest.mark.parametrize("bad", [PICTURES[0], PICTURES + 1, (PICTURES * 255).byte()])
def test_what_is_no_batch_of_pictures_is_refused(bad):
    with pytest.raises(ValueError, match="VitalMetric takes"):
        VitalQuality(tiny_model()).update(bad)


def test_without_torchmetrics_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(sys.modules, "modeling_vital.running_metric")
    with pytest.raises(ImportError, match=r"modeling-vital\[metrics\]"):
        import modeling_vital.running_metric  # noqa: F401


def _measure(rank: int, rendezvous: str) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    try:
        quality = VitalQuality(tiny_model())
        quality.update(PICTURES[:1] if rank == 0 else PICTURES[1:])  # unequal shares weigh as pictures, not as ranks
        torch.testing.assert_close(
            quality.compute(), VitalMetric(tiny_model())(PICTURES).double().mean(), rtol=0, atol=1e-6
        )
        assert quality.pictures == (1 if rank == 0 else 4)  # its own share again, ready to go on
    finally:
        dist.destroy_process_group()


@pytest.mark.distributed
def test_processes_share_one_result(tmp_path):
    torch.multiprocessing.spawn(_measure, (str(tmp_path / "rendezvous"),), nprocs=2)
