"""Fetch folders from the Hugging Face hub, and put them there."""

from pathlib import Path
from typing import Any

from genrev.errors import GenrevError
from genrev.files.network import hub_or_cache
from genrev.files.paths import reason


def download(repository: str, files: list[str], **options: Any) -> Path:
    """The folder of these files of a repository, by ``huggingface_hub.snapshot_download``."""
    from huggingface_hub import snapshot_download  # half a second, which most need not wait for

    try:
        with hub_or_cache():
            return Path(snapshot_download(repository, allow_patterns=files, **options))
    except Exception as error:  # the libraries below raise several unrelated kinds
        at = f" at revision {options['revision']!r}" if options.get("revision") else ""
        raise GenrevError(
            f"There is no folder {repository!r} here, and the hub did not give a model of that "
            f"name{at} ({type(error).__name__}); check the spelling and the network."
        ) from error


def upload(folder: Path, repository: str, *, private: bool = False) -> str:
    """Put a folder on the hub, into a repository that is made if need be, and give its address."""
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repository, private=private or None, exist_ok=True)
        public = private and not api.model_info(repository).private
        if not public:
            commit = api.upload_folder(
                repo_id=repository, folder_path=folder, commit_message="Upload a genrev model"
            )
            return str(commit.commit_url)
    except Exception as error:  # the libraries below raise several unrelated kinds
        raise GenrevError(
            f"The hub did not take {repository!r} ({reason(error)}); log in with "
            "`hf auth login` and check the name and the network."
        ) from error
    raise GenrevError(
        f"{repository} is on the hub already and is public, so nothing was sent; make it private "
        "there first, or leave --private out."
    )
