"""A chain of invertible blocks, inverted block by block in reverse order."""

from typing import Literal

from torch import Tensor, nn

__all__ = ["ReversibleSequential"]


class ReversibleSequential(nn.Module):
    """Apply blocks one after the other; ``inverse`` cascades their inverses backwards.

    Args:
        *blocks: modules with ``forward`` and ``inverse``.
        memory: ``"stored"`` keeps every activation for the backward pass (plain autograd).

    Raises:
        TypeError: a block has no ``inverse``.
        ValueError: an unknown ``memory`` mode.

    Example:
        >>> import torch
        >>> from genrev.reversible import CheckerboardSubsample
        >>> chain = ReversibleSequential(CheckerboardSubsample(), CheckerboardSubsample())
        >>> x = torch.rand(2, 3, 8, 8)
        >>> chain(x).shape, torch.equal(chain.inverse(chain(x)), x)
        (torch.Size([2, 48, 2, 2]), True)
    """

    def __init__(self, *blocks: nn.Module, memory: Literal["stored"] = "stored") -> None:
        super().__init__()
        if memory != "stored":
            raise ValueError(f"memory must be 'stored' and is {memory!r}.")
        for position, block in enumerate(blocks):
            if not callable(getattr(block, "inverse", None)):
                raise TypeError(
                    f"block {position} is a {type(block).__name__} without an inverse method."
                )
        self.memory = memory
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map x through all blocks; shapes as the blocks have them."""
        for block in self.blocks:
            x = block(x)
        return x

    def inverse(self, y: Tensor) -> Tensor:
        """Map y through the inverses of all blocks, last block first."""
        for block in reversed(self.blocks):
            y = block.inverse(y)  # type: ignore[operator]
        return y

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> nn.Module:
        return self.blocks[index]
