"""The part of a data set's card that `load_dataset` and the Hub read: which files are which split."""

from collections.abc import Mapping
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from huggingface_hub import DatasetCardData


def add_data_files(
    data: "DatasetCardData", files: Mapping[str, Mapping[str, str]], default: str | None = None
) -> None:
    """Names the files of each configuration in a card's data.

    Args:
        data (`DatasetCardData`): changed in place.
        files (`dict`): configuration -> split -> file or pattern, below the folder of the card.
        default (`str`, *optional*): configuration that is loaded if none is asked for.
    """
    from datasets.utils.metadata import MetadataConfigs

    configs = {
        name: {
            "data_files": [{"split": split, "path": path} for split, path in splits.items()],
            **({"default": True} if name == default else {}),
        }
        for name, splits in files.items()
    }
    MetadataConfigs(configs).to_dataset_card_data(data)


def card_text(files: Mapping[str, Mapping[str, str]], text: str = "", data: "DatasetCardData | None" = None) -> str:
    """Returns a `README.md`: the front matter, then what is to be read.

    Args:
        files (`dict`): configuration -> split -> file or pattern, as for [`add_data_files`]; may be empty.
        text (`str`, *optional*): Markdown.
        data (`DatasetCardData`, *optional*): what else the front matter says.
    """
    from huggingface_hub import DatasetCardData

    data = DatasetCardData() if data is None else data
    if files:
        add_data_files(data, files)
    return f"---\n{data.to_yaml()}\n---\n" + (f"\n{text}\n" if text else "")
