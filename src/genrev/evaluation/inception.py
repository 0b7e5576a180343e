"""FID's own features: the 2,048 of the Inception network of 2015-12-05, from torch-fidelity.

The weights are the ones that published FIDs are computed with; torch-fidelity fetches them (about
90 MB) from its releases the first time and keeps them in torch's hub folder. It needs torchvision,
so it is an extra: ``pip install 'genrev[fid]'``.
"""

import hashlib
import importlib.util
from functools import cached_property

import torch
from safetensors.torch import save
from torch import Tensor

from genrev.errors import GenrevError
from genrev.evaluation.features import require_bytes

__all__ = ["InceptionFeatures", "has_inception"]


def has_inception() -> bool:
    """Whether the extra is installed; nothing is imported or fetched."""
    return importlib.util.find_spec("torch_fidelity") is not None


class InceptionFeatures:
    """The extractor of FID (see ``features.FeatureExtractor``); grey images become colour ones.

    Args:
        device: where to run it; images and features are moved there and back.

    Raises:
        GenrevError: torch-fidelity is not installed or cannot be imported, or its weights cannot
            be fetched.
    """

    name, dim, resize = "fid2048", 2048, "inside extractor"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except (ImportError, RuntimeError) as error:  # torchvision that does not fit raises either
            raise GenrevError(
                f"the features of FID need torch-fidelity, which cannot be imported ({error}); "
                "install it with `pip install 'genrev[fid]'`, or give a TorchScript file with "
                "--features FILE"
            ) from error
        try:
            network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        except (OSError, RuntimeError) as error:
            raise GenrevError(
                f"torch-fidelity could not fetch the weights of its Inception network ({error}); "
                "connect to the network once, or give a TorchScript file with --features FILE"
            ) from error
        self._network = network.eval().to(self.device)

    @cached_property
    def sha256(self) -> str:
        """Hash of the weights, hexadecimal."""
        state = self._network.state_dict()
        tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
        return hashlib.sha256(save(tensors)).hexdigest()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 images (N, C, H, W) with one or three channels to features (N, 2048)."""
        require_bytes(images)
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        (features,) = self._network(images.contiguous().to(self.device))
        return features.float().cpu()
