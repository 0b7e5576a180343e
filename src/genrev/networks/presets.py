"""Named RevNets: the paper's two networks, and small ones for digits and for faces on a CPU."""

from dataclasses import replace
from typing import Literal

from genrev.errors import GenrevError
from genrev.networks.revnet import Init, RevNet, RevNetConfig

__all__ = ["PRESETS", "revnet", "revnet_config"]

Preset = Literal["celeba64", "mnist", "mnist-haar", "digits", "faces32", "faces32-haar"]
"""Names of the preset RevNets, the keys of ``PRESETS``."""

PRESETS: dict[str, RevNetConfig] = {
    # 60,409,572 parameters, 12,288 latent dimensions (Section 3.1).
    "celeba64": RevNetConfig(
        image_size=64,
        channels=3,
        hidden_channels=(25, 50, 100, 200, 400, 400),
        blocks=(2, 2, 2, 2, 2, 1),
        kernel_sizes=(3, 3, 3, 3, 3, 1),
    ),
    # 2,108,180 parameters, 1,024 latent dimensions (Section 3.2): 28x28 padded to 32x32.
    "mnist": RevNetConfig(
        image_size=28,
        channels=1,
        padding=2,
        hidden_channels=(25, 50, 100, 200),
        blocks=(2, 2, 2, 2),
        kernel_sizes=(3, 3, 3, 3),
    ),
    # 64 latent dimensions; scikit-learn's 8x8 digits, for demos and tests.
    "digits": RevNetConfig(
        image_size=8,
        channels=1,
        hidden_channels=(32, 64, 128),
        blocks=(2, 2, 2),
        kernel_sizes=(3, 3, 1),
    ),
    # 2,118,168 parameters, 3,072 latent dimensions; 32x32 photographs on a CPU.
    "faces32": RevNetConfig(
        image_size=32,
        channels=3,
        hidden_channels=(32, 64, 128, 40),
        blocks=(2, 2, 2, 2),
        kernel_sizes=(3, 3, 3, 3),
    ),
}
# The same with bands (and colours) in place of pixels: restricted reconstructions without grain.
PRESETS["mnist-haar"] = replace(PRESETS["mnist"], bands="haar")
PRESETS["faces32-haar"] = replace(
    PRESETS["faces32"], bands="haar", colours="luma-chroma", centred=True
)


def revnet_config(preset: str, *, init: Init = "torch") -> RevNetConfig:
    """Configuration of a preset.

    Raises:
        GenrevError: no preset of that name.
    """
    if preset not in PRESETS:
        raise GenrevError(
            f"No RevNet preset is called {preset!r}; choose from {', '.join(PRESETS)}."
        )
    return replace(PRESETS[preset], init=init)


def revnet(preset: Preset | str) -> RevNet:
    """Build an untrained preset RevNet.

    Raises:
        GenrevError: no preset of that name.

    Example:
        >>> sum(p.numel() for p in revnet("mnist").parameters())
        2108180
    """
    return RevNet(revnet_config(preset))
