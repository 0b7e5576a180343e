"""An image next to its restricted and its full reconstruction (Figure 6 of the paper)."""

from typing import Any

from genrev.app.comparison import compare
from genrev.app.exhibit import Exhibit
from genrev.app.pictures import enlarged, figure
from genrev.app.shelf import Shelf
from genrev.app.tabs.picker import Picker
from genrev.app.tabs.shared import Shared, help_line, picture_area, tab

__all__ = ["ReconstructTab"]


class ReconstructTab:
    """Controls of the reconstructions."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        with tab("Reconstruct"):
            help_line(
                "How much of an image the active dimensions know, and how much the whole "
                "latent space does."
            )
            self.picker = Picker(shared, "Choose an image", "reconstruct")
            self.pictures = picture_area("reconstructions")

    @property
    def inputs(self) -> list[Any]:
        """What ``draw`` takes."""
        return [self._shared.model, self._shared.shelf, self.picker.chosen]

    @property
    def outputs(self) -> list[Any]:
        """What ``draw`` gives."""
        return [self.pictures]

    def wire(self, everyone: list[Picker]) -> None:
        """Draw whenever an image is chosen."""
        self.picker.wire(everyone, self.draw, self.inputs, self.outputs)

    def draw(self, name: str, shelf: Shelf, chosen: int) -> str:
        """The three pictures."""
        exhibit = self._shared.exhibit(name)
        result = compare(exhibit.model, shelf.image(chosen))
        parts = [
            figure(enlarged(result.original), "Original", f"{exhibit.name}-original"),
            figure(
                enlarged(result.restricted),
                "Restricted",
                f"{exhibit.name}-restricted",
                _error(result.restricted_error),
            ),
            figure(
                enlarged(result.full), "Full", f"{exhibit.name}-full", _error(result.full_error)
            ),
        ]
        return f'<div class="three">{"".join(parts)}</div><p class="note">{_explain(exhibit)}</p>'


def _error(value: float) -> str:
    return f"error {value:.4f}" if value >= 5e-5 else f"error {value:.0e}"


def _explain(exhibit: Exhibit) -> str:
    active, dim = len(exhibit.model.prior.active_dims), exhibit.model.prior.dim
    error = "Error: mean absolute difference per pixel."
    if not exhibit.has_rest:
        return f"All {dim} dimensions are active, so restricted and full are much the same. {error}"
    return f"Restricted: {active} active dimensions. Full: all {dim:,} dimensions. {error}"
