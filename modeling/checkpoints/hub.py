"""Weights from repositories of the Hugging Face hub."""

from pathlib import Path

from .files import CheckpointError, one_line

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"  # files of a folder or repository
PREFIX = "hf:"  # of repository names where a path could be meant


def fetch(repository: str) -> Path:
    """Weights of a repository, preferably out of the cache.

    The cache comes first so that runs without network repeat.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as error:
        raise CheckpointError(
            f"{PREFIX}{repository}: repositories of the Hugging Face hub need huggingface_hub (pip install "
            "huggingface_hub), or download one by hand and name its folder"
        ) from error
    try:
        return Path(hf_hub_download(repository, WEIGHTS, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    except ValueError as error:  # a malformed name
        raise CheckpointError(f"{PREFIX}{repository}: is no repository ({one_line(error)})") from error
    try:
        return Path(hf_hub_download(repository, WEIGHTS))
    except Exception as error:  # of the network, the service and the disk: many types
        raise CheckpointError(
            f"{PREFIX}{repository}: {WEIGHTS} is not in the cache and cannot be fetched ({one_line(error)})"
        ) from error
