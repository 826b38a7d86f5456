"""Members of the zoo are counted once: the tables and cards of these tests show the same few each time."""

import functools

import pytest

from modeling_vital.zoo import presets


entry = functools.cache(presets.entry)


@pytest.fixture(scope="module", autouse=True)
def entries_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "entry", entry)
        yield
