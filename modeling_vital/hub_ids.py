"""Ids on the Hub, told from words and folders."""


def is_hub_id(name: str) -> bool:
    """Returns `True` for `org/name` as the Hub's own client takes it, whether there is one or not."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


__all__ = ["is_hub_id"]
