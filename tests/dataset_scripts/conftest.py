"""What several tests of the build share."""

import pytest


@pytest.fixture
def without_plots(monkeypatch):
    """Builds draw no plots, which take most of the time of a tiny one; `published` in test_pipeline.py has them."""
    monkeypatch.setattr("dataset_scripts.publish.draw_plots", lambda numbers, folder: {})
