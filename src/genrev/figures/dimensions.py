"""How many latent dimensions are in use: standard deviations of the prior and of the encodings.

A prior that learns its standard deviations switches dimensions off by shrinking them. For every
class both are sorted from large to small and drawn over their rank: a curve crosses the threshold
at the number of dimensions in use.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from genrev.errors import GenrevError
from genrev.figures.figure import FigureRun, Picture, class_name, classes_in_turn, panels
from genrev.models.checks import images_for, model_labels
from genrev.models.conditions import contexts_for, contexts_of
from genrev.models.devices import batch_size_on, in_batches
from genrev.models.inference import GenerativeAutoencoder, inference

_IMAGES = 5000  # enough for standard deviations
_PANELS = 10
_BATCH = 500
_FLOOR = 1e-3  # lower edge of the plot; a dimension below is off, however far below


def draw_dimensions(run: FigureRun) -> Mapping[str, Picture]:
    """Standard deviations of prior and encodings."""
    chosen = classes_in_turn(run.data, _IMAGES)
    labels = torch.from_numpy(model_labels(run.model, run.data)[chosen])
    return {"dimensions.png": dimensions_in_use(run.model, run.data.tensor(chosen), labels)}


def dimensions_in_use(
    model: GenerativeAutoencoder, x: Tensor, labels: Tensor | None = None, threshold: float = 0.1
) -> Figure:
    """Sorted standard deviations of prior and encodings, one panel per class (the first 10).

    Encodings are those of images (N, C, H, W) in [0, 1] and their classes (N,), which a prior of
    one class needs not; a standard deviation above ``threshold`` counts as in use.

    Raises:
        ValueError: images not of the model's shape, or not one label per image.
        GenrevError: the prior has classes and ``labels`` is missing.
    """
    x = images_for(model, x, "x")
    classes = model.prior.num_classes
    if classes > 1 and labels is None:
        raise GenrevError(
            f"The prior has {classes} classes, so the plot of the dimensions in use needs the "
            "labels of the images; use a labelled data source."
        )
    if labels is not None and labels.shape != (len(x),):
        raise ValueError(f"{len(x)} images need labels ({len(x)},); got {tuple(labels.shape)}.")
    count = min(classes, _PANELS)
    rows = math.ceil(count / 5)
    columns = math.ceil(count / rows)
    size = (6.4, 4.2) if count == 1 else (3.1 * columns + 0.6, 3.0 * rows + 0.8)
    figure, axes = panels(rows, columns, count, size, sharey=True)
    with inference(model) as device:
        given = contexts_for(model, x) if labels is None else contexts_of(model, labels, len(x))

        def encode(rows: Tensor) -> Tensor:
            return model.encode(x[rows], *(c[rows] for c in given))

        every = torch.arange(len(x), device=x.device)
        z = torch.cat([*in_batches(encode, every, batch_size_on(device, _BATCH))])  # (N, D)
        for label, axis in enumerate(axes):
            if classes == 1 or labels is None:  # which there are if there are classes
                _draw(axis, model.prior.scale(), z, threshold)
                continue
            _draw(axis, model.prior.scale(label), z[labels.to(z.device) == label], threshold)
            axis.set_title(f"class {class_name(model, label)}", fontsize=11)
    axes[0].set_ylim(bottom=_FLOOR)  # shared, and set last: it freezes the upper end
    first = f" (first {count} of {classes} classes)" if classes > count else ""
    figure.suptitle(f"Latent dimensions in use{first}", fontsize=13)
    figure.supxlabel("rank of the dimension", fontsize=11)
    figure.supylabel("standard deviation", fontsize=11)
    return figure


def _draw(axis: Axes, prior: Tensor, encodings: Tensor, threshold: float) -> None:
    axis.axhline(threshold, color="0.55", linewidth=1, linestyle="--")
    found = encodings.float().std(dim=0) if len(encodings) > 1 else prior.new_empty(0)
    # The prior is the wider line: where the encodings follow it, both can be seen.
    curves = (("prior", prior, "#9ecae1", 4.0), ("encodings", found, "#c44e00", 1.6))
    for name, std, color, width in curves:
        values = std.float().cpu().sort(descending=True).values
        label = f"{name}: {int((values > threshold).sum())}" if len(std) else f"{name}: too few"
        shown = values.clamp(min=_FLOOR / 10).numpy()
        axis.plot(np.arange(1, len(values) + 1), shown, color=color, linewidth=width, label=label)
    axis.set(xscale="log", yscale="log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.grid(color="0.92")
    axis.tick_params(labelsize=9)
    sizes = {"fontsize": 9, "title_fontsize": 9, "handlelength": 1.2}
    counted = f"above {threshold:g}, of {len(prior)}"
    axis.legend(title=counted, loc="lower left", framealpha=0.9, **sizes)
