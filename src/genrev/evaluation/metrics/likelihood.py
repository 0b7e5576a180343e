"""How well a model predicts images that it has not seen, in bits per dimension."""

import math

import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation.metric import EvaluationRun, Lines, Metric, Numbers
from genrev.models import require_density
from genrev.models.checks import model_labels
from genrev.models.conditions import Given, contexts_of, takes_labels
from genrev.models.devices import batch_size_on, in_batches
from genrev.models.inference import GenerativeAutoencoder, inference
from genrev.objectives import bits_per_dim, dequantise
from genrev.progress import track
from genrev.seeding import noise_generator


class Likelihood(Metric):
    """``likelihood_report`` of the reference, on request only: most models have no density."""

    on_request = True

    def refusal(self, run: EvaluationRun) -> str | None:
        try:
            require_density(run.model)
        except GenrevError as error:
            return str(error)
        return None

    def measure(self, run: EvaluationRun) -> Numbers:
        return likelihood_report(run.model, run.data, run.batch_size, run.seed)

    def lines(self, values: Numbers) -> Lines:
        bits = f"{values['bits_per_dim']:.3f} ± {values['standard_error']:.3f}"
        yield "bits per dimension, at most", f"{bits} of {values['dims']} dimensions"


def likelihood_report(
    model: GenerativeAutoencoder, images: ImageData, batch_size: int | None = None, seed: int = 0
) -> Numbers:
    """Mean bits per dimension of dequantised images, an upper bound on what an ideal code spends.

    A class-conditional network gets the classes of the images: -log2 p(x | c).

    Every image is dequantised once; the noise depends on the seed and not on the batch size.

    Returns:
        ``bits_per_dim``, its ``standard_error`` over the images, and ``dims``.

    Raises:
        GenrevError: a model that is not bijective, or has no prior in all dimensions.
    """
    flow, dim = require_density(model), math.prod(images.image_shape)
    generator = noise_generator(seed, 0, "held out")
    labels = model_labels(model, images) if takes_labels(model) else None
    parts: list[Tensor] = []
    with inference(model) as device:
        size = batch_size_on(device, 250) if batch_size is None else batch_size
        for start in track(range(0, len(images), size), "likelihoods", "batches"):
            pixels = torch.from_numpy(images.images[start : start + size].copy())
            x = dequantise(pixels, generator)  # once, however often it is computed with
            given = (
                () if labels is None else contexts_of(model, labels[start : start + size], len(x))
            )

            def bits_of(rows: Tensor, x: Tensor = x, given: Given = given) -> Tensor:
                context = (c[rows.to(c.device)] for c in given)
                return bits_per_dim(flow.log_prob(x[rows].to(device), None, *context), dim)

            parts += in_batches(bits_of, torch.arange(len(x)))
    bits = torch.cat([part.cpu().double() for part in parts])
    error = float(bits.std(correction=0)) / math.sqrt(len(bits))
    return {"bits_per_dim": float(bits.mean()), "standard_error": error, "dims": dim}
