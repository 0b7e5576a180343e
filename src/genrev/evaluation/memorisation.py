r"""Are samples copies of training images? Their distances from the training set tell.

Images that were held out are the measure: they come from the same distribution as the training
images and cannot be copies of them. Samples that lie nearer to the training set than held-out
images do are suspicious. Two numbers say so:

* the **share of samples nearer** to their nearest training image than 99 % of the held-out images
  are to theirs. A model that does not copy is at about 0.01, also one whose samples are bad;
* the **z-score of Meehan et al.**: of all pairs of a sample and a held-out image, U is the number
  in which the sample is farther from its nearest training image, and
  :math:`z = (U - mn/2) / \sqrt{mn(m+n+1)/12}` is standard normal where both are equally far (Mann
  and Whitney). Far below 0 (-3, say) says copying, far above 0 that samples stray from the data.
  This is their C_T with one cell; with many cells it also finds copying of a few regions only,
  which the share above is there for.

Both trust the distance. Blurred images are nearer to all others, pixel by pixel, without being
copies, so a model with soft samples can be below zero in pixels; look at the neighbours themselves
(``neighbours.png`` of ``genrev figures``), and at the same numbers in features.

Reference: Meehan, Chaudhuri and Dasgupta, "A non-parametric test to detect data-copying in
generative models" (2020).
"""

import math

import torch
from scipy.stats import mannwhitneyu
from torch import Tensor

__all__ = ["copying"]

NEAREST_SHARE = 0.01


def copying(samples: Tensor, held_out: Tensor) -> dict[str, float]:
    """Compare distances from the training set; see the module's text.

    Args:
        samples: distance of every sample to its nearest training image, shape (m,).
        held_out: the same of images that were not trained on, shape (n,).

    Returns:
        ``nearer_share``, ``copying_z``, ``median_samples`` and ``median_held_out``.

    Raises:
        ValueError: no distances.

    Example:
        >>> far, near = torch.linspace(1, 2, 100), torch.zeros(100)
        >>> copying(near, far)["nearer_share"], copying(far, far)["copying_z"]
        (1.0, 0.0)
    """
    m, n = len(samples), len(held_out)
    if not m or not n:
        raise ValueError(f"there are distances of {m} samples and {n} held-out images; need both.")
    threshold = torch.quantile(held_out.double(), NEAREST_SHARE)
    farther = float(mannwhitneyu(samples.numpy(), held_out.numpy(), method="asymptotic").statistic)
    return {
        "nearer_share": float((samples < threshold).double().mean()),
        "copying_z": (farther - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12),
        "median_samples": float(samples.median()),
        "median_held_out": float(held_out.median()),
    }
