"""The untrained RevNet that a configuration asks for."""

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.networks import Init, RevNet, RevNetConfig, revnet_config
from genrev.reversible import Engine
from genrev.training.config import EngineConfig

__all__ = ["untrained_net"]


def untrained_net(
    network: str | RevNetConfig,
    init: Init,
    engine: EngineConfig,
    data: ImageData,
) -> RevNet:
    """A network for these images.

    Args:
        network: name of a preset, or its shape.
        init: initialisation of a preset.
        engine: decides about memory, exactness and compilation, whatever the network says.
        data: the images.

    Raises:
        GenrevError: images that the network was not built for, or ``exact`` where it cannot be.
    """
    shape = network if isinstance(network, RevNetConfig) else revnet_config(network, init=init)
    if data.image_shape != shape.image_shape:
        raise GenrevError(_mismatch(data, shape, network))
    if engine.exact and not shape.allows_exact:
        raise GenrevError(
            "--engine.exact needs additive couplings without scaling, since products do not stay "
            "on the fixed-point grid; leave it out."
        )
    how = Engine(memory=engine.memory, exact=engine.exact, compile=engine.compile)
    return RevNet(shape, how)


def _mismatch(data: ImageData, shape: RevNetConfig, network: str | RevNetConfig) -> str:
    name = network if isinstance(network, str) else "given"
    have = "x".join(str(size) for size in data.image_shape)
    want = "x".join(str(size) for size in shape.image_shape)
    return (
        f"The images of {data.name} are {have} (channels x height x width) and the network "
        f"{name} takes {want}; resize them with --data.image_size {shape.image_size} "
        f"--data.channels {shape.channels}, or choose another --model.network."
    )
