"""The images a visitor chooses from: examples of the model, and what the visitor brought.

Every visitor has a shelf of their own; it is a value, and adding an image makes a new one.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from genrev.app.exhibit import Exhibit
from genrev.app.pictures import data_uri, enlarged

__all__ = ["MOST_OWN", "Shelf"]

MOST_OWN = 12  # images a visitor brought; the oldest leaves when one more comes
_THUMBNAIL = 64  # pixels


@dataclass(frozen=True, eq=False)
class Shelf:
    """Images of one shape, each under a key that stays its own as long as it is there.

    Keys of examples count up from 0, those of the visitor's images down from -1.

    Args:
        examples: images (N, C, H, W) in [0, 1].
        own: images (C, H, W) that the visitor brought, oldest first.
        left: how many of the visitor's images have left to make room.
        from_data: whether the examples are test images; else the model drew them.
    """

    examples: Tensor
    own: tuple[Tensor, ...] = ()
    left: int = 0
    from_data: bool = False

    @classmethod
    def of(cls, exhibit: Exhibit, before: "Shelf | None" = None) -> "Shelf":
        """The shelf of a model; the visitor's images stay if they have its shape."""
        shelf = cls(exhibit.examples(), from_data=exhibit.shows_test_images)
        if before is None or before.examples.shape[1:] != shelf.examples.shape[1:]:
            return shelf
        return replace(shelf, own=before.own, left=before.left)

    @property
    def newest(self) -> int:
        """Key of the image that was added last."""
        return -self.left - len(self.own)

    def keys(self) -> list[int]:
        """All keys, the visitor's newest image first."""
        mine = range(self.newest, -self.left)
        return [*mine, *range(len(self.examples))]

    def image(self, key: int) -> Tensor:
        """One image (1, C, H, W); the first example for a key that is not there (any more)."""
        if key not in self.keys():
            key = 0
        x = self.examples[key] if key >= 0 else self.own[-key - 1 - self.left]
        return x.unsqueeze(0)

    def add(self, x: Tensor) -> "Shelf":
        """The shelf with one more image (C, H, W) of the visitor."""
        leaving = max(0, len(self.own) + 1 - MOST_OWN)
        return replace(self, own=(*self.own, x)[leaving:], left=self.left + leaving)

    def strip(self, chosen: int, name: str) -> str:
        """HTML of a row of small pictures to choose from; ``name`` says for what."""
        buttons = []
        for key in self.keys():
            kind = f"your image {-key}" if key < 0 else f"example {key + 1}"
            uri = data_uri(enlarged(self.image(key)[0], _THUMBNAIL))
            buttons.append(
                f'<button type="button" class="thumb" data-key="{key}" title="{kind}" '
                f'aria-pressed="{str(key == chosen).lower()}" aria-label="{name}: {kind}">'
                f'<img alt="" src="{uri}"></button>'
            )
        return f'<div class="strip" role="group" aria-label="{name}">{"".join(buttons)}</div>'
