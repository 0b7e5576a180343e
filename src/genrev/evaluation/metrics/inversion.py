r"""Images there and back: inversion in several number formats, and reconstructions.

**Inversion** is decode(encode(x)) against x. For a RevNet the two agree up to rounding, which grows
with depth and size of the weights; for an autoencoder with a bottleneck the same numbers say how
much that loses. In pixels of [0, 1] half a grey level is 1 / 510, about 2e-3. Nothing is clipped
but where 8-bit pixels are compared. ``genrev.training.reports.drift`` does this during training.

**Reconstructions** go through the restricted and the full latent space. The restricted one,
decode(clamp(encode(x))), shows what the prior's few active dimensions hold (Figure 6, middle row):
it is the number to compare with autoencoders that have a bottleneck, for which the full one,
decode(encode(x)), is the same. Both are clipped to [0, 1] as pictures are; ``l1_unclipped`` is the
error as a training loss sees it. The peak signal-to-noise ratio of a mean squared error MSE is
:math:`-10 \log_{10} \mathrm{MSE}` decibels.
"""

import copy
import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from genrev.data import ImageData
from genrev.evaluation.features.reference import spread_indices
from genrev.evaluation.metric import Column, EvaluationRun, Lines, Metric, Numbers
from genrev.models.conditions import reader
from genrev.models.devices import batch_size_on, float64_device, in_batches
from genrev.models.inference import GenerativeAutoencoder, device_of, inference

FEW = 1000  # images in float64, which is slow on most devices


class Inversion(Metric):
    """``inversion_report`` of the reference."""

    def measure(self, run: EvaluationRun) -> Numbers:
        return inversion_report(run.model, run.data, run.batch_size)

    def lines(self, values: Numbers) -> Lines:
        for dtype, error in values["by_dtype"].items():
            label = f"inversion error, {dtype}"
            if "skipped" in error:
                yield label, f"not measured: {error['skipped']}"
                continue
            # In numbers of images, since 9,999 of 10,000 would be 100.0 %.
            identical = round(error["identical_images"] * error["count"])
            size = f"mean L1 {error['mean_l1']:.2e}, largest {error['max_abs']:.2e}"
            count = f"{identical:,} of {error['count']:,}"
            yield label, f"{size}; {count} images come back with the same 8-bit pixels"


class _ErrorColumn(Column):
    """The error of clipped images, and in brackets that of others where it differs."""

    def show(self, entry: Any) -> str:
        clipped, decoded = (format(entry[name], self.digits) for name in ("l1", "l1_unclipped"))
        return clipped if clipped == decoded else f"{clipped} ({decoded})"


class Reconstruction(Metric):
    """``reconstruction_report`` of the reference."""

    columns = (
        _ErrorColumn("restricted", "restricted L1", ".4f"),
        _ErrorColumn("full", "full L1", ".2g"),
    )
    note = (
        "L1 is the mean absolute error of reconstructions in pixels of [0, 1], through the "
        "restricted and through the full latent space, of images clipped to [0, 1]; in brackets "
        "that of the images as decoded, where it differs"
    )

    def measure(self, run: EvaluationRun) -> Numbers:
        return reconstruction_report(run.model, run.data, run.batch_size)

    def lines(self, values: Numbers) -> Lines:
        for name in ("restricted", "full"):
            error = values[name]
            psnr = "exact" if error["psnr"] is None else f"PSNR {error['psnr']:.1f} dB"
            l1, decoded = f"{error['l1']:.4g}", f"{error['l1_unclipped']:.4g}"
            if l1 != decoded:
                l1 += f" (of images clipped to [0, 1]; as decoded {decoded})"
            squared = f"mean square {error['mse']:.4g}"
            yield f"reconstruction, {name}", f"mean L1 {l1}, {squared}, {psnr}"


def round_trip(
    model: GenerativeAutoencoder, x: Tensor, dtype: torch.dtype, *context: Tensor
) -> Tensor:
    """decode(encode(x)) of images (N, C, H, W), weights in ``dtype`` or, in bfloat16, autocast."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        return model.decode(model.encode(x, *context), *context)


def inversion_error(
    model: GenerativeAutoencoder,
    images: ImageData,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    limit: int | None = None,
) -> Numbers:
    """Differences between decode(encode(x)) and x, taken in float64, in one number format.

    The model has weights of ``dtype``, or float32 for bfloat16. With ``limit`` so many images are
    used, spread evenly over the data set; ``batch_size`` of them at a time, 250 on the CPU by
    default.

    Returns:
        ``mean_l1`` (mean over all pixels and images), ``max_abs``, ``identical_images`` (share of
        the images whose 8-bit pixels all come back the same), ``dtype`` and ``count``. A pixel
        that comes back as NaN or infinite makes the first two NaN or infinite.
    """
    chosen = spread_indices(len(images), len(images) if limit is None else limit)
    given = torch.float32 if dtype == torch.bfloat16 else dtype
    read = reader(model, images)
    total, worst, identical = 0.0, torch.tensor(0.0, dtype=torch.float64), 0
    with inference(model) as device:
        size = batch_size_on(device, 250) if batch_size is None else batch_size

        def measured(indices: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
            x, beside = read(indices)
            x, precise = x.to(given), float64_device(device)
            back = round_trip(model, x, dtype, *beside).to(precise).double()
            difference = (back - x.to(precise).double()).abs()
            stored = torch.from_numpy(np.array(images.images[indices])).to(precise)
            same = (back * 255).round().clamp(0, 255) == stored  # a NaN equals nothing
            return difference.sum(), difference.max().cpu(), same.flatten(1).all(1).sum()

        for error, largest, alike in in_batches(measured, chosen, size, "round trips"):
            total += float(error)
            worst = torch.maximum(worst, largest)  # unlike max(), keeps a NaN
            identical += int(alike)
    return {
        "mean_l1": total / (len(chosen) * math.prod(images.image_shape)),
        "max_abs": float(worst),
        "identical_images": identical / len(chosen),
        "dtype": str(dtype).removeprefix("torch."),
        "count": len(chosen),
    }


def inversion_report(
    model: GenerativeAutoencoder, images: ImageData, batch_size: int | None = None
) -> Numbers:
    """``inversion_error`` in float32 and bfloat16 on all images, and in float64 on 1,000 of them.

    float32 says what the model as it is does, bfloat16 what training in bf16 has to live with (on
    all images, because few have a large error), float64, of a copy of the model, whether an error
    is rounding: if it is, it all but vanishes.

    Returns:
        The numbers of float32, and under ``by_dtype`` those of each format by its name. A format
        that cannot be measured here has ``{"skipped": REASON}`` instead.
    """
    whole, device = inversion_error(model, images, batch_size), device_of(model)
    by_dtype = {"float32": dict(whole)}
    if reason := lacks_bfloat16(device):
        by_dtype["bfloat16"] = {"skipped": reason}
    else:
        by_dtype["bfloat16"] = inversion_error(model, images, batch_size, torch.bfloat16)
    if device.type == "mps":
        by_dtype["float64"] = {"skipped": "mps devices have no float64"}
    elif not isinstance(model, nn.Module):
        by_dtype["float64"] = {"skipped": "the model is no nn.Module to be converted"}
    else:
        precise: Any = copy.deepcopy(model).double()
        by_dtype["float64"] = inversion_error(precise, images, batch_size, torch.float64, FEW)
    for numbers in by_dtype.values():
        numbers.pop("dtype", None)
    return {**whole, "by_dtype": by_dtype}


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


def reconstruction_report(
    model: GenerativeAutoencoder, data: ImageData, batch_size: int | None = None
) -> Numbers:
    """Mean errors of restricted and full reconstructions over all images of a data set.

    Returns:
        ``restricted`` and ``full``, each with ``l1`` and ``mse`` (mean absolute and mean squared
        difference over all pixels and images, in pixels of [0, 1]), ``psnr`` (decibels, of that
        ``mse``; None where it is 0) and ``l1_unclipped``. A reconstruction that is not finite makes
        them NaN.
    """
    # Absolute, squared, and absolute without clipping, of restricted and full ones.
    sums, read = torch.zeros(2, 3, dtype=torch.float64), reader(model, data)
    with inference(model) as device:
        precise = float64_device(device)

        def errors(indices: range) -> Tensor:
            x, given = read(indices)
            z = model.encode(x, *given)
            rows = []
            for latents in (model.prior.clamp(z), z):
                decoded = model.decode(latents, *given)
                clipped = (decoded.clamp(0, 1) - x).to(precise).double()  # clamp keeps a NaN
                l1, unclipped = clipped.abs().sum(), (decoded - x).to(precise).double().abs().sum()
                rows.append(torch.stack([l1, clipped.square().sum(), unclipped]))
            return torch.stack(rows).cpu()

        size = batch_size_on(device, 250) if batch_size is None else batch_size
        for part in in_batches(errors, range(len(data)), size, "reconstructions"):
            sums += part
    report = {}
    for name, row in zip(("restricted", "full"), sums, strict=True):
        mean_l1, mse, decoded_l1 = (row / (len(data) * math.prod(data.image_shape))).tolist()
        psnr = None if mse == 0 else -10 * math.log10(mse)
        report[name] = {"l1": mean_l1, "mse": mse, "psnr": psnr, "l1_unclipped": decoded_l1}
    return report
