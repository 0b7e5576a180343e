"""Statistics of all encodings of a data set, and the model that starts from them."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, distributed

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.models import GenerativeRevNet
from genrev.networks import RevNet
from genrev.priors import (
    ActiveGaussian,
    ActiveUniform,
    ClassConditionalGaussian,
    ClassMoments,
    GaussianMixturePrior,
    Prior,
    largest_std_dims,
)
from genrev.training.config import EngineConfig, MatchingConfig, SemiConfig, TransportConfig
from genrev.training.networks import untrained_net

__all__ = ["build_model", "encoding_moments"]

ActiveConfig: TypeAlias = TransportConfig | MatchingConfig | SemiConfig
"""Options of the methods that have active dimensions."""

_CHUNK = 1000  # images; bounds the memory of one pass


@torch.no_grad()
def encoding_moments(
    encode: Callable[[Tensor], Tensor],
    data: ImageData,
    dim: int,
    device: torch.device | str = "cpu",
    limit: int | None = None,
) -> ClassMoments:
    """Per-class mean and standard deviation of the encodings.

    Ranks of a distributed run share the work and all get the same result.

    Args:
        encode: images (N, C, H, W) to latents (N, D).
        data: the data set.
        dim: number D of latent dimensions.
        device: where to encode.
        limit: use the first so many images only.
    """
    rank, world = 0, 1
    if distributed.is_available() and distributed.is_initialized():
        rank, world = distributed.get_rank(), distributed.get_world_size()
    total = len(data) if limit is None else min(limit, len(data))
    moments = ClassMoments(data.num_classes, dim)
    starts = range(0, total, _CHUNK)
    for start in starts[rank::world]:
        indices = range(start, min(start + _CHUNK, total))
        labels = torch.from_numpy(data.labels[start : indices.stop].copy())
        moments.update(encode(data.tensor(indices).to(device)), labels)
    return _merge_over_ranks(moments, dim, world) if world > 1 else moments


def _merge_over_ranks(moments: ClassMoments, dim: int, world: int) -> ClassMoments:
    parts: list[tuple[Tensor, Tensor, Tensor] | None] = [None] * world
    distributed.all_gather_object(parts, moments.state())
    merged = ClassMoments(len(moments.count), dim)
    for part in parts:  # in the order of the ranks, so that all ranks round alike
        assert part is not None
        merged.merge(*part)
    return merged


def build_model(
    config: ActiveConfig,
    engine: EngineConfig,
    data: ImageData,
    device: torch.device | str = "cpu",
    measure: bool = True,
) -> GenerativeRevNet:
    """An untrained RevNet whose prior starts from its own encodings of the data.

    Args:
        config: network and prior.
        engine: decides about memory, exactness and compilation, whatever the network says.
        data: the training images.
        device: where to encode them; the model is on the CPU afterwards.
        measure: whether to encode at all. Without, the active dimensions are the first ones and a
            class-conditional prior is standard normal, for a model that is loaded into next.

    Raises:
        GenrevError: images that the network was not built for, or too many active dimensions.
    """
    net = untrained_net(config.network, config.init, engine, data)
    dim = net.config.latent_dim
    k = dim if config.active_dims is None else config.active_dims
    if not 1 <= k <= dim:
        raise GenrevError(
            f"--model.active_dims must lie between 1 and {dim}, the number of latent "
            f"dimensions of this network, and is {config.active_dims}."
        )
    if not measure:
        return _with_prior(config, net, torch.arange(k), data)
    moments = encoding_moments(net.to(device).encode, data, dim, device)
    active_dims = largest_std_dims(moments.overall_std, k, net.config.coarse_dims)
    model = _with_prior(config, net.cpu(), active_dims, data)
    if isinstance(model.prior, ClassConditionalGaussian):
        model.prior.initialise_(moments.mean.float(), moments.std.float())
    return model


def _with_prior(
    config: ActiveConfig,
    net: RevNet,
    active_dims: Tensor,
    data: ImageData,
) -> GenerativeRevNet:
    dim = net.config.latent_dim
    if isinstance(config, MatchingConfig):
        return GenerativeRevNet(net, _classless_prior(config, dim, active_dims), ("all",))
    prior = ClassConditionalGaussian(data.num_classes, dim, active_dims, config.bound)
    return GenerativeRevNet(net, prior, data.class_names)


def _classless_prior(config: MatchingConfig, dim: int, active_dims: Tensor) -> Prior:
    if config.prior == "mixture":
        components = config.mixture_components
        return GaussianMixturePrior(1, components, "full", dim, active_dims, config.bound)
    kind = ActiveUniform if config.prior == "uniform" else ActiveGaussian
    return kind(dim, active_dims, config.bound)
