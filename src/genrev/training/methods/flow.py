r"""What methods share that work with densities: a bijection and a prior in all dimensions.

**Noise.** A density of images that hardly fill their space is steep, and what a flow draws beside
it looks like noise. With ``noise_std`` :math:`\sigma` the network learns the density p of images
with Gaussian noise, which is smooth, and the model takes one step
:math:`x + \sigma^2 \nabla \log p(x)` from its samples back to images
(``GenerativeModel.denoise``). Bits per dimension in training are then those of noisy images,
which bound nothing. On held-out images they are taken without noise, as ever: still an upper
bound for these images, by a density that was learned from others and therefore a loose one.

References: Zhai et al., "Normalizing flows are capable generative models" (2024).
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation import likelihood_report
from genrev.models import GenerativeModel
from genrev.models.conditions import contexts_of
from genrev.networks import Network, RevNet
from genrev.objectives import bits_per_dim, dequantise, whole_pixels, within_cells
from genrev.options import Count, Fraction, OptionError
from genrev.priors import ActiveUniform, ClassMoments, Prior
from genrev.reversible import DiagonalScaling
from genrev.seeding import noise_generator
from genrev.training.config import RunConfig
from genrev.training.methods.method import Batch, HeldOut, Method, Noise

_CHUNK, _MOST = 1000, 10_000  # images that the scaling starts from


class FlowMethod(Method):
    """A method for bijective networks and a density of all latent dimensions.

    A learned scaling starts from the encodings of the data: Adam would need thousands of steps to
    bring a pixel that is always black to where its dequantisation noise is as wide as the prior.
    """

    class Options(Method.Options):
        heldout_every: Count | None = None
        """Steps between two measurements of the bits per dimension of the test split, reported as
        heldout_bits_per_dim; null measures once per epoch."""
        noise_std: Fraction = 0.0
        """Standard deviation of Gaussian noise on the images in training, 1 being the range of
        pixels; 0 for none. Samples of the model are denoised in one step."""

    options: Options

    @classmethod
    def accepts_network(cls, network: type[Network]) -> bool:
        return network.reversible

    @classmethod
    def accepts_prior(cls, prior: type[Prior]) -> bool:
        return not (prior.class_conditional or prior.fitted or issubclass(prior, ActiveUniform))

    def check(self, config: RunConfig) -> None:
        network, prior = config.network.options, config.prior.options
        if isinstance(network, RevNet.Options) and network.padded_sizes != network.sizes:
            raise OptionError(
                "A network with padding is not a bijection and has no likelihood; take another "
                "--network, such as that of the recipe mnist-nice."
            )
        if prior.active_dims is not None or prior.bound is not None:
            raise OptionError(
                f"--method {config.method.name} needs a density of all latent dimensions; leave "
                "--prior.active_dims and --prior.bound out."
            )

    def prepare(self, model: GenerativeModel, data: ImageData, seed: int) -> None:
        super().prepare(model, data, seed)
        if not model.net.bijective:
            raise GenrevError(
                f"A {type(model.net).__name__} is not a bijection (its `bijective` is False) and "
                "has no likelihood; choose another --network.kind."
            )
        model.noise_std = self.options.noise_std

    @torch.no_grad()
    def initialise(self, model: GenerativeModel, data: ImageData) -> None:
        """Start the scaling, if there is one that is not trained yet, from the encodings."""
        net, total = model.net, min(len(data), _MOST)
        scaling = getattr(net, "scaling", None)
        if not isinstance(scaling, DiagonalScaling) or not scaling.is_identity:
            return
        moments = ClassMoments(1, net.latent_dim)
        device = next(net.parameters()).device
        for start in range(0, total, _CHUNK):
            images = data.tensor(range(start, min(start + _CHUNK, total)))
            labels = torch.from_numpy(data.labels[start : start + len(images)].copy())
            x = dequantise(whole_pixels(images), noise_generator(0, start, "scaling"))
            normal = torch.randn(x.shape, generator=noise_generator(0, start, "scaling noise"))
            x = (x + self.options.noise_std * normal).to(device)
            given = contexts_of(model, labels, len(x))
            moments.update(net.encode(x, *given), torch.zeros(len(x), dtype=torch.int64))
        std = moments.std[0].float() / model.prior.scale().cpu()
        scaling.initialise_(moments.mean[0].float(), std)

    @property
    def on_device(self) -> bool:
        return True

    def dequantised(self, batch: Batch, noise: Noise) -> Tensor:
        """The batch's images (n, C, H, W) with this rank's uniform noise of one grey level, and
        its Gaussian noise, if there is to be any."""
        shape = batch.total, *batch.images.shape[1:]
        within = noise.draw("dequantisation", partial(within_cells, shape), *shape)
        x = dequantise(whole_pixels(batch.images), within=batch.share(within))
        if not self.options.noise_std:
            return x
        return x + self.options.noise_std * batch.share(noise.normal("image noise", *shape))

    def bits_per_dim(self, model: GenerativeModel, x: Tensor, *context: Tensor) -> Tensor:
        """Mean number of bits per dimension that the model needs for dequantised images."""
        density = model.log_prob(x, None, *context).float()  # (n,)
        # A sum over all dimensions needs float32, whatever f and g run in.
        with torch.autocast(x.device.type, enabled=False):
            return bits_per_dim(density, x[0].numel()).mean()

    def held_out(self) -> Sequence[HeldOut]:
        """The bits per dimension of the test split, always with the same noise."""

        def bits(model: GenerativeModel, data: ImageData) -> float:
            return likelihood_report(model, data)["bits_per_dim"]

        return (HeldOut("heldout_bits_per_dim", bits, self.options.heldout_every),)
