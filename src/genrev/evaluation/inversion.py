"""How exactly a model inverts itself: decode(encode(x)) against x, in several number formats.

For a RevNet the two agree up to rounding, which grows with depth and size of the weights; for
an autoencoder with a bottleneck the same numbers say how much its bottleneck loses. Values are
in units of the image's range [0, 1]: half a grey level is 1 / 510, about 2e-3. Nothing is clipped
but where 8-bit pixels are compared, since an image file holds no others.

The same is measured during training, see ``genrev.training.drift``.
"""

import copy
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from genrev.data import ImageData
from genrev.evaluation.batches import batches, spread_indices
from genrev.models.inference import device_of, inference
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["inversion_error", "inversion_report", "lacks_bfloat16", "round_trip"]

FEW = 1000  # images in float64, which is slow on most devices


def round_trip(model: GenerativeAutoencoder, x: Tensor, dtype: torch.dtype) -> Tensor:
    """decode(encode(x)), images (N, C, H, W).

    Args:
        model: any model with ``encode`` and ``decode``.
        x: images on the model's device, in the dtype of its weights.
        dtype: ``torch.bfloat16`` runs the model under autocast, as bf16-mixed training does; any
            other is that of weights and images, whatever autocast surrounds the call.
    """
    with torch.autocast(x.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        return model.decode(model.encode(x))


def inversion_error(
    model: GenerativeAutoencoder,
    images: ImageData,
    batch_size: int = 250,
    dtype: torch.dtype = torch.float32,
    limit: int | None = None,
) -> dict[str, float | int | str]:
    """Differences between decode(encode(x)) and x in one number format.

    Args:
        model: Any model with ``encode`` and ``decode``; its weights have to be of ``dtype``, or
            float32 for bfloat16.
        images: The data set.
        batch_size: Number of images encoded at a time.
        dtype: What the model computes in, see ``round_trip``; the difference is taken in float64.
        limit: Use so many images, spread evenly over the data set; all of them by default.

    Returns:
        ``mean_l1`` (mean over all pixels and images), ``max_abs``, ``identical_images`` (share of
        the images whose 8-bit pixels all come back the same), ``dtype`` and ``count``. A pixel
        that comes back as NaN or infinite makes the first two NaN or infinite.
    """
    chosen = spread_indices(len(images), len(images) if limit is None else limit)
    count = len(chosen)
    given = torch.float32 if dtype == torch.bfloat16 else dtype
    total, worst = 0.0, torch.tensor(0.0, dtype=torch.float64)
    identical, pixels = 0, 0
    with inference(model) as device:
        for indices in batches(images, batch_size, chosen):
            x = images.tensor(indices).to(device, given)
            back = round_trip(model, x, dtype).cpu().double()
            difference = (back - x.cpu().double()).abs()
            total += float(difference.sum())
            worst = torch.maximum(worst, difference.max())  # unlike max(), keeps a NaN
            stored = torch.from_numpy(np.array(images.images[indices]))
            same = (back * 255).round().clamp(0, 255) == stored  # a NaN equals nothing
            identical += int(same.flatten(1).all(1).sum())
            pixels += difference.numel()
    return {
        "mean_l1": total / pixels,
        "max_abs": float(worst),
        "identical_images": identical / count,
        "dtype": str(dtype).removeprefix("torch."),
        "count": count,
    }


def inversion_report(
    model: GenerativeAutoencoder, images: ImageData, batch_size: int = 250
) -> dict[str, Any]:
    """``inversion_error`` in float32 and bfloat16 on all images, and in float64 on 1,000 of them.

    The float32 round trip says what the model as it is does, bfloat16 what training with
    bf16-mixed has to live with (on all images, because few of them have a large error), float64
    whether an error is rounding: if it is, it all but vanishes.

    Args:
        model: Any model with ``encode`` and ``decode`` and weights in float32. For float64 a
            copy of it is made.
        images: The data set.
        batch_size: Number of images encoded at a time.

    Returns:
        The numbers of float32, and under ``by_dtype`` those of each format by its name. A format
        that cannot be measured here has ``{"skipped": REASON}`` instead.
    """
    whole = inversion_error(model, images, batch_size)
    by_dtype: dict[str, dict[str, Any]] = {"float32": _numbers(whole)}
    for name, dtype in (("bfloat16", torch.bfloat16), ("float64", torch.float64)):
        reason = _cannot_run(model, dtype)
        if reason is not None:
            by_dtype[name] = {"skipped": reason}
            continue
        # A type checker cannot know that _cannot_run lets modules alone get here with float64.
        used: Any = copy.deepcopy(model).double() if dtype == torch.float64 else model  # type: ignore[attr-defined]
        limit = FEW if dtype == torch.float64 else None
        by_dtype[name] = _numbers(inversion_error(used, images, batch_size, dtype, limit))
    return {**whole, "by_dtype": by_dtype}


def _cannot_run(model: GenerativeAutoencoder, dtype: torch.dtype) -> str | None:
    device = device_of(model)
    if dtype == torch.bfloat16:
        return lacks_bfloat16(device)
    if device.type == "mps":
        return "mps devices have no float64"
    return None if isinstance(model, nn.Module) else "the model is no nn.Module to be converted"


def lacks_bfloat16(device: torch.device) -> str | None:
    """Why a device cannot run a model in bfloat16; ``None`` where it can."""
    reason = f"this {device.type} device has no bfloat16"
    with warnings.catch_warnings():
        # Autocast raises, or warns and goes on in float32, as the device has it.
        warnings.simplefilter("ignore")
        try:
            with torch.autocast(device.type, torch.bfloat16):
                ones = torch.ones(1, 1, 1, 1, device=device)
                computed = functional.conv2d(ones, ones).dtype
        except RuntimeError:
            return reason
    return None if computed == torch.bfloat16 else reason


def _numbers(error: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in error.items() if name != "dtype"}
