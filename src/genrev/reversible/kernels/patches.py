"""Checkerboard subsampling on CUDA: the pixels of 2x2 patches move in one pass.

PyTorch joins the four positions of a patch by ``cat`` or ``stack``, one number at a time, and
merging takes a copy on top. Here every number of the result, with channels innermost, is fetched
from where it lies, in whatever order in memory that is.
"""

import torch
from torch import Tensor

from genrev.reversible.engine.execution import batched
from genrev.reversible.kernels.rows import FEWEST, find_triton, run_kernel

_BLOCK = 1024  # numbers that one program moves
_DTYPES = {torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int32}
_FAR = 2**31  # from here on, places do not fit int32, in which they are found faster


def patches_moved(x: Tensor, inverse: bool) -> Tensor | None:
    """Images (N, C, H, W) with patches spread over the channels, or merged again.

    ``None`` where PyTorch's operations are to do it; what looks on, be it a compiler or a
    transform, is the caller's business.
    """
    if not _moves(x):
        return None
    n, channels, height, width = x.shape
    if inverse:
        channels, height, width = channels // 4, 2 * height, 2 * width
        shape = n, channels, height, width
    else:
        shape = n, 4 * channels, height // 2, width // 2
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    numbers = out.numel()
    furthest = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    far = int(max(numbers + _BLOCK, furthest) >= _FAR)
    constants = channels, height, width, *x.stride(), far, _BLOCK
    grid = -(-numbers // _BLOCK), 1, 1
    run_kernel("merge" if inverse else "spread", grid, (x, out), numbers, constants)
    return out


def _moves(x: Tensor) -> bool:
    large = x.device.type == "cuda" and x.dim() == 4 and x.numel() >= FEWEST
    return large and x.dtype in _DTYPES and not batched(x) and find_triton()
