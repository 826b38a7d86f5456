"""The smoke data, made once a session, and a model that learns from it in seconds."""

import pytest

from tests.fixtures.tiny_models import tiny_model


@pytest.fixture(scope="session")
def smoke_data(tmp_path_factory):
    """Folder of the smoke data set: real rows of the example pictures and clips."""
    # Not above: the tests marked `gpu` do without what it takes.
    from tests.fixtures.small_smoke_data import write_smoke_data

    return write_smoke_data(tmp_path_factory.mktemp("data") / "smoke pairs")


@pytest.fixture(scope="session")
def data_args(smoke_data):
    from training.data import DataArguments

    return DataArguments(
        dataset=str(smoke_data), mixture={"scoring": 2, "pairwise": 1, "distortion": 1}, bucket_batches=4
    )


@pytest.fixture
def model():
    return tiny_model()


@pytest.fixture(scope="session")
def data(data_args):
    from training.data import load_data

    return load_data(data_args, tiny_model().processor, seed=0)
