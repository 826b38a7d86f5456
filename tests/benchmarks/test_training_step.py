"""The section of the training step: each kind of work runs on the batches that it makes."""

import pytest

from benchmarks.sections.training_step import encoder_work, steps_work
from tests.fixtures.small_smoke_data import write_smoke_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(write_smoke_data(tmp_path_factory.mktemp("smoke") / "data"))


@pytest.mark.parametrize("work", [steps_work, encoder_work])
def test_a_step_runs(work, data, tmp_path):
    work("pretrain", data, str(tmp_path), 1)()


def test_a_step_without_savings_runs(data, tmp_path):
    steps_work("warm_up", data, str(tmp_path), 1, savings=False)()
