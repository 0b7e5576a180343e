"""``save_pretrained``, ``from_pretrained`` and ``push_to_hub``, as the Hugging Face hub has them.

``ModelHubMixin`` brings the three and calls what is here: the format stays that of
``genrev.models.hub`` (safetensors and JSON), and the model card tells what is known of the model.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from huggingface_hub import ModelCard, ModelHubMixin

from genrev.errors import GenrevError
from genrev.files.paths import expand

if TYPE_CHECKING:
    from genrev.models.card import CardNotes
    from genrev.models.module import GenerativeModule

__all__ = ["Pretrained"]


class Pretrained(ModelHubMixin, library_name="genrev"):
    """What a generative module needs to be shared; see ``huggingface_hub.ModelHubMixin``.

    * ``save_pretrained(folder)`` writes weights, configuration and a model card.
    * ``push_to_hub("owner/name", private=True)`` uploads such a folder.
    * ``from_pretrained`` is below.

    Attributes:
        info: what the model was trained on and how, as plain JSON values; filled by ``load``.
    """

    info: dict[str, Any]

    @classmethod
    def from_pretrained(  # type: ignore[override]  # no keywords that a file could fill in
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        device: str | torch.device = "cpu",
    ) -> Self:
        """Load a model as ``genrev.load`` does, with the hub's options.

        Args:
            pretrained_model_name_or_path: what ``genrev.load`` takes.
            force_download: fetch it again even if it is in the cache.
            token: of the hub; by default that of ``hf auth login``.
            cache_dir: folder of the cache.
            local_files_only: do not ask the hub.
            revision: branch, tag or commit on the hub.
            device: where the model goes.

        Raises:
            GenrevError: as ``genrev.load``, or the model is of another class.
        """
        from genrev.models.hub import download, load  # it knows the classes, this one too

        name = str(pretrained_model_name_or_path)
        options = (force_download, token, cache_dir, local_files_only, revision)
        if any(options) and not expand(name).is_dir():
            repository, _, at = name.partition("@")
            name = str(
                download(
                    repository,
                    revision or at or None,
                    force_download=force_download,
                    token=token,
                    cache_dir=cache_dir,
                    local_files_only=local_files_only,
                )
            )
        model = load(name, device)
        if not isinstance(model, cls):
            raise GenrevError(
                f"{pretrained_model_name_or_path} is a {type(model).__name__}, not a "
                f"{cls.__name__}; use genrev.load, which takes any of them."
            )
        return model

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write a folder with weights, configuration and model card.

        Args:
            save_directory: the folder; made when missing.
            options: those of ``huggingface_hub.ModelHubMixin.save_pretrained``.
        """
        url: str | None = super().save_pretrained(expand(save_directory), **options)
        return url

    def generate_model_card(
        self, repository: str | None = None, notes: "CardNotes | None" = None
    ) -> ModelCard:
        """The card that ``save_pretrained`` writes; its ``model_card_kwargs`` are these.

        Args:
            repository: ``owner/name``, for the lines that load the model.
            notes: what ``info`` does not tell.
        """
        # A card knows data sets, and importing the package of these takes seconds.
        from genrev.models.card import CardNotes, model_card

        model = cast("GenerativeModule", self)
        return ModelCard(model_card(model, repository, notes or CardNotes()))

    def _save_pretrained(self, save_directory: Path) -> None:
        from genrev.models.hub import save

        save(cast("GenerativeModule", self), save_directory)
