"""The model that a training starts from, and statistics of all encodings of a data set."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed

from genrev.data import ImageData, fitted
from genrev.errors import GenrevError
from genrev.models import GenerativeModel, load
from genrev.models.checks import require_images
from genrev.models.devices import all_at_once
from genrev.models.saving import unwrapped
from genrev.networks.network import NETWORKS, Network
from genrev.options import OptionError, Options
from genrev.priors import PRIORS, ClassMoments, largest_std_dims
from genrev.progress import track
from genrev.training.config import RunConfig
from genrev.training.methods.method import build_method

_TRAINING = "A run trains", "train it in a loop of your own, with genrev.objectives"
_CHUNK = 1000  # images; bounds the memory of one pass


def build_model(
    config: RunConfig,
    network: Options,
    data: ImageData,
    device: torch.device | str = "cpu",
    measure: bool = True,
    init: GenerativeModel | None = None,
) -> GenerativeModel:
    """An untrained model with ``network`` as options, whose prior starts from its own encodings.

    The active dimensions are those with the largest standard deviation in the untrained encodings;
    with ``factor_out`` those that pass through all stages come first. Pass ``measure=False`` if a
    checkpoint will be loaded anyway: images are then not encoded, and the active dimensions are the
    first ones. The network has the weights of ``init``, if there is one.
    """
    net = NETWORKS[config.network.name](network, config.engine.of_network)
    if init is not None:
        require_same_network(init, net)
        net.load_state_dict(unwrapped(init.net).state_dict())
    channels, height, width = require_images(net.image_shape, *_TRAINING)
    if data.image_shape != net.image_shape:
        have, want = ("x".join(map(str, shape)) for shape in (data.image_shape, net.image_shape))
        size = f"{height}" if height == width else f"'[{height}, {width}]'"
        raise GenrevError(
            f"The images of {data.name} are {have} (channels x height x width) and the network "
            f"takes {want}; resize them with --data.image_size {size} --data.channels {channels}, "
            "or choose another --network."
        )
    prior, options = PRIORS[config.prior.name], config.prior.options
    dim = net.latent_dim
    k = options.active_dims or dim
    if k > dim:
        raise OptionError(
            f"--prior.active_dims must lie between 1 and {dim}, the number of latent "
            f"dimensions of this network, and is {k}."
        )
    told = _told_classes(net, data)
    # What is fitted to encodings differs between classes once the network knows them.
    asked = getattr(options, "by_class", False)
    by_class = prior.class_conditional or asked or (told and prior.fitted)
    classes = data.num_classes if by_class else 1
    active_dims, moments = torch.arange(k), None
    if measure and (k < dim or prior.class_conditional):
        moments = encoding_moments(net.to(device).encode, data, dim, device, told)
        active_dims = largest_std_dims(moments.overall_std, k, net.coarse_dims)
    started = prior.start(options, dim, active_dims, classes)
    if moments is not None:
        started.initialise_(moments.mean.float(), moments.std.float())
    names = data.class_names if by_class or told else ("all",)
    return GenerativeModel(net, started, names).to(device)


def fit_data(config: RunConfig) -> RunConfig:
    """The configuration, whose images get the size and channels that its network takes."""
    shape = getattr(config.network.options, "image_shape", None)  # one of one's own may not tell
    return config if shape is None else config.replace(data=fitted(config.data, shape))


@torch.no_grad()
def encoding_moments(
    encode: Callable[..., Tensor],
    data: ImageData,
    dim: int,
    device: torch.device | str,
    told: bool = False,
) -> ClassMoments:
    """Moments of the encodings (N, D) by class; ranks share the work and get the same result.

    ``told`` says whether ``encode`` takes the classes beside the images.
    """
    rank, world = 0, 1
    if distributed.is_available() and distributed.is_initialized():
        rank, world = distributed.get_rank(), distributed.get_world_size()
    moments = ClassMoments(data.num_classes, dim)
    starts = range(0, len(data), _CHUNK)[rank::world]
    for start in track(starts, f"encodings of {data.name}", "thousand images"):
        indices = range(start, min(start + _CHUNK, len(data)))
        labels = torch.from_numpy(data.labels[start : indices.stop].copy())
        given = (labels.to(device),) if told else ()
        moments.update(all_at_once(encode, data.tensor(indices).to(device), *given), labels)
    if world == 1:
        return moments
    parts: list[Any] = [None] * world
    distributed.all_gather_object(parts, moments.state())
    merged = ClassMoments(data.num_classes, dim)
    for part in parts:  # in the order of the ranks, so that all ranks round alike
        merged.merge(*part)
    return merged


def image_shape_of(config: RunConfig) -> tuple[int, int, int]:
    """Channels, height and width (C, H, W) of the images that a run's network takes."""
    options = build_method(config).network_options(config.network.options)
    with torch.device("meta"):
        shape = NETWORKS[config.network.name](options).image_shape
    return require_images(shape, *_TRAINING)


def adopt_prior(model: GenerativeModel, init: GenerativeModel) -> bool:
    """Give a model the prior of another, if it is one of its kind, size and classes."""
    theirs = unwrapped(init.prior)
    shapes = [{n: t.shape for n, t in p.state_dict().items()} for p in (model.prior, theirs)]
    same = type(model.prior) is type(theirs) and shapes[0] == shapes[1]
    if not same or model.class_names != init.class_names:
        return False
    model.prior.load_state_dict(theirs.state_dict())
    return True


def require_same_network(init: GenerativeModel, net: Network) -> None:
    """Raise ``GenrevError`` where the weights of a model do not fit a network."""
    theirs: Any = unwrapped(init.net)
    if type(theirs) is not type(net):
        raise GenrevError(
            f"The model to start from has a {type(theirs).__name__} and this run a "
            f"{type(net).__name__}; start from a model with the same network."
        )
    if _without_init(theirs.config) == _without_init(net.config):
        return
    ours, others = net.config.plain(), theirs.config.plain()
    names = [name for name in ours if name != "init" and ours[name] != others[name]]
    if len(names) > 1:
        raise GenrevError(
            f"The model to start from has another network than this run, of other "
            f"{', '.join(names[:-1])} and {names[-1]}; take the recipe of that model, with your "
            "--data."
        )
    name = names[0]
    raise GenrevError(
        f"The model to start from has another network than this run: {name} is {others[name]} "
        f"there and {ours[name]} here; set --network.{name} to that of the model."
    )


def _without_init(config: Options) -> Options:
    """Options of a network but for how its weights are drawn, which does not matter to trained."""
    return config.replace(init="torch") if "init" in type(config).model_fields else config


def _told_classes(net: Network, data: ImageData) -> bool:
    """Whether the network is told the classes of the data; an error where they are not as many."""
    if net.context and (net.context != data.num_classes or data.num_classes < 2):
        have = f"{data.num_classes} classes" if data.num_classes > 1 else "no labels"
        cure = f"set it to {data.num_classes}"
        if data.num_classes < 2:
            cure = "give data with labels, or set it to 0"
        raise GenrevError(
            f"--network.context {net.context} tells a network the class of every image, and "
            f"{data.name} has {have}; {cure}."
        )
    return net.context > 0


def take_over(model: GenerativeModel, run: str) -> None:
    """Copy network weights and active dimensions of a run's model; the prior stays otherwise."""
    trained = load(run)
    option = f"--method.reconstruction_run {run}"
    if not trained.net.reversible:
        raise GenrevError(f"{option} is not a RevNet; name a run of --method matching.")
    if _without_init(trained.net.config) != _without_init(model.net.config):
        raise GenrevError(
            f"{option} has another network than this run; set --network to the one of its "
            "config.yaml."
        )
    if (have := len(trained.prior.active_dims)) != (want := len(model.prior.active_dims)):
        raise GenrevError(
            f"{option} has {have} active dimensions and this run {want}; set --prior.active_dims "
            f"{have}."
        )
    model.net.load_state_dict(trained.net.state_dict())
    model.prior.active_dims.copy_(trained.prior.active_dims)
