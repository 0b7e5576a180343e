"""What methods share whose prior is a standard normal in all latents of an autoencoder."""

from typing import ClassVar

from genrev.data import ImageData
from genrev.networks import ConvAutoencoder, Network
from genrev.options import OptionError
from genrev.priors import ActiveGaussian, Prior
from genrev.training.config import RunConfig
from genrev.training.methods.method import Method, require_two_images


class AutoencoderMethod(Method):
    """A method for convolutional autoencoders, which has all latent dimensions for its prior."""

    latents: ClassVar[str]
    """What it has there, as the beginning of a sentence."""

    @classmethod
    def accepts_network(cls, network: type[Network]) -> bool:
        return issubclass(network, ConvAutoencoder)

    @classmethod
    def accepts_prior(cls, prior: type[Prior]) -> bool:
        return issubclass(prior, ActiveGaussian)

    def check(self, config: RunConfig) -> None:
        if config.prior.options.active_dims is not None or config.prior.options.bound is not None:
            raise OptionError(
                f"{self.latents} in all latent dimensions; leave --prior.active_dims and "
                "--prior.bound out."
            )

    def check_data(self, config: RunConfig, data: ImageData) -> None:
        super().check_data(config, data)
        require_two_images(config)

    @property
    def on_device(self) -> bool:
        return True
