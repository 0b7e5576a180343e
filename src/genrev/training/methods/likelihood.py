"""Maximum likelihood by change of variables: the training of NICE and Real NVP.

The loss is the mean number of bits per dimension that the model needs for dequantised images
(``genrev.objectives.likelihood``), of a network with a ``context`` for p(x | c) with the class c of
every image; there is nothing else in it. ``network.coupling`` and
``network.scaling`` make the network NICE or Real NVP.

References: Dinh et al., "NICE" (2015) and "Density estimation using Real NVP" (2017).
"""

from torch import Tensor

from genrev.models import GenerativeModel
from genrev.training.methods.flow import FlowMethod
from genrev.training.methods.method import Batch, Noise


class Likelihood(FlowMethod):
    """Training of a bijective network to give images a high density, or one for every class."""

    conditional = True

    def losses(self, model: GenerativeModel, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Bits per dimension of this batch, once dequantised."""
        x = self.dequantised(batch, noise)
        return {"bits_per_dim": self.bits_per_dim(model, x, *batch.context(model))}
