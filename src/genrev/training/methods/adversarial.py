"""What methods with an adversary share: a discriminator, and whose turn it is."""

from torch import Tensor, nn

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.models import GenerativeModel
from genrev.seeding import seeded_weights
from genrev.training.config import Rate
from genrev.training.methods.method import Batch, Method, Noise


class AdversarialMethod(Method):
    """A method whose model is trained against a discriminator, in turns.

    Batches alternate: the first, third, ... of a phase train the discriminator alone, all others
    the model alone. A subclass builds the discriminator and gives both their losses.
    """

    class Options(Method.Options):
        discriminator_lr: Rate = 4e-4
        """Learning rate of Adam for the discriminator."""
        discriminator_clip: Rate | None = 1000.0
        """Largest norm of the discriminator's gradient; null does not clip.
        ``optimizer.clip`` is for the model."""

    options: Options

    def build_discriminator(self, model: GenerativeModel) -> nn.Module | None:
        """An untrained discriminator; ``None`` where the options ask for none."""
        raise NotImplementedError

    def discriminator_loss(self, model: GenerativeModel, batch: Batch, noise: Noise) -> Tensor:
        """What the discriminator minimises, a scalar; the model has no gradient here."""
        raise NotImplementedError

    def prepare(self, model: GenerativeModel, data: ImageData, seed: int) -> None:
        """Build the discriminator, by the seed and not by what was drawn before."""
        with seeded_weights(seed, "discriminator"):
            self.discriminator = self.build_discriminator(model)

    def trains_discriminator(self, phase: str, step_of_phase: int) -> bool:
        """Whether a step trains the discriminator, or else the model."""
        return self.discriminator is not None and step_of_phase % 2 == 0

    def judging(self) -> nn.Module:
        """The discriminator as a constant, for the losses of the model."""
        return self._built().eval().requires_grad_(False)

    def learning(self) -> nn.Module:
        """The discriminator in training, for its own loss."""
        return self._built().train().requires_grad_(True)

    def _built(self) -> nn.Module:
        if self.discriminator is None:
            raise GenrevError(
                f"{type(self).__name__} has no discriminator yet; call prepare(model, data, seed)."
            )
        return self.discriminator
