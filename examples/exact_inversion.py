# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exact inversion of a photograph
#
# To edit a photograph in the latent space of a model, it has to come back from its latent. Three
# kinds of models encode the same photograph and decode it again: a reversible network, a
# variational autoencoder, and a diffusion model that is inverted by DDIM steps.

# %%
import math
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_sample_image
from torch import nn
from torch.nn import functional

import genrev
from genrev.networks import ConvAutoencoder, ConvAutoencoderConfig
from genrev.objectives import clamp_penalty, clamped_reconstruction_loss, kl_divergence
from genrev.priors import ActiveGaussian, largest_std_dims
from genrev.reversible import round_to_grid

SIDE, DIMS = 32, 128  # of tiles, and of the latents that the first two are restricted to
STEPS = {"RevNet": 30, "VAE": 250, "denoiser": 80}  # seconds each; more make all of them better
DDIM_STEPS = 30

torch.manual_seed(0)

# %% [markdown]
# ## The photograph
#
# Two photographs come with scikit-learn. Both are made smaller and cut into tiles of 32x32 pixels,
# at any place in training and side by side in the test. The models see in training what they are
# tested on, so what does not come back is not for want of having been seen.

# %%
photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
photos = [torch.from_numpy(photo.copy()).permute(2, 0, 1) / 255 for photo in photos]
photos = torch.stack([functional.avg_pool2d(photo, 4) for photo in photos])  # (2, 3, 106, 160)
photo = (photos[:1, :, :96] * 255).round() / 255  # (1, 3, 96, 160) in bytes


def crops(n):
    """Random tiles (n, 3, 32, 32)."""
    rows, columns = (size - SIDE + 1 for size in photos.shape[2:])
    places = [torch.randint(most, (n,)).tolist() for most in (2, rows, columns)]
    return torch.stack(
        [photos[i, :, y : y + SIDE, x : x + SIDE] for i, y, x in zip(*places, strict=True)]
    )


def tiled(pictures):
    """Pictures (1, 3, H, W) cut into tiles (N, 3, 32, 32)."""
    tiles = pictures.unfold(2, SIDE, SIDE).unfold(3, SIDE, SIDE)  # (1, 3, rows, columns, 32, 32)
    return tiles.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def joined(tiles):
    """Tiles of the photograph put together again."""
    rows, columns = photo.shape[2] // SIDE, photo.shape[3] // SIDE
    tiles = tiles.view(rows, columns, 3, SIDE, SIDE).permute(2, 0, 3, 1, 4)
    return tiles.reshape(1, 3, rows * SIDE, columns * SIDE)


def train(name, module, loss):
    """A few steps of Adam on random tiles."""
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    for _ in range(STEPS[name]):
        optimizer.zero_grad()
        loss(crops(16)).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()


# %% [markdown]
# ## A reversible network
#
# It learns to draw tiles from 128 of its 3,072 latent dimensions. All of them together always give
# the tile back, trained or not.

# %%
shape = genrev.RevNetConfig(
    image_size=SIDE,
    channels=3,
    hidden_channels=(16, 32, 64, 64),
    blocks=(1, 1, 1, 1),
    kernel_sizes=(3, 3, 3, 3),
    bands="haar",
    colours="luma-chroma",
    centred=True,
)
revnet = genrev.RevNet(shape)
with torch.no_grad():
    spread = revnet.encode(crops(200)).std(dim=0)
prior = ActiveGaussian(revnet.latent_dim, largest_std_dims(spread, DIMS), bound=None)


def restricted_loss(x):
    z = revnet.encode(x)
    clamped = prior.clamp(z)
    return 10 * clamped_reconstruction_loss(x, clamped, revnet.decode) + clamp_penalty(z, clamped)


train("RevNet", revnet, restricted_loss)
revnet.set_engine(genrev.Engine(exact=True))  # in fixed point, without any rounding error

# %% [markdown]
# ## A variational autoencoder
#
# With as many latent dimensions as the reversible network is restricted to.

# %%
layers = {"encoder_channels": (24, 48, 96), "decoder_channels": (96, 48, 24)}
vae = ConvAutoencoder(
    ConvAutoencoderConfig(
        image_size=SIDE, latent_dim=DIMS, stochastic=True, kernel_size=3, **layers
    )
)


def vae_loss(x):
    mean, log_variance = vae.posterior(x)
    z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
    error = (vae.decode(z) - x).square().flatten(1).sum(1).mean() / (2 * 0.1**2)
    return error + kl_divergence(mean, log_variance)


train("VAE", vae, vae_loss)
vae.eval()

# %% [markdown]
# ## A diffusion model, inverted by DDIM steps
#
# A small network learns to tell the noise in $x_t = \cos(t)\, x_0 + \sin(t)\, \epsilon$. DDIM
# follows the path that it gives from noise to image; in the other direction it encodes. Every step
# takes the noise to be the same at both of its ends, which it is not, so one direction does not
# undo the other.


# %%
class Denoiser(nn.Module):
    """The noise in images (N, 3, H, W), at a time t."""

    def __init__(self, width=24):
        super().__init__()
        layers = [nn.Conv2d(4, width, 3, padding=1)]
        for channels in (width, width, 3):
            layers += [nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x, t):
        return self.layers(torch.cat([x, t.expand(len(x), 1, *x.shape[2:])], 1))


denoiser = Denoiser()


def noise_loss(x):
    t = torch.rand(len(x), 1, 1, 1) * math.pi / 2
    noise = torch.randn_like(x)
    return (denoiser(t.cos() * (2 * x - 1) + t.sin() * noise, t) - noise).square().mean()


train("denoiser", denoiser, noise_loss)
times = torch.linspace(0.02, 1.45, DDIM_STEPS + 1)


@torch.no_grad()
def ddim(x, times):
    """Follow the path from the first time to the last."""
    for t, u in pairwise(times):
        noise = denoiser(x, t)
        x = u.cos() * (x - t.sin() * noise) / t.cos() + u.sin() * noise
    return x


# %% [markdown]
# ## There and back

# %%
tiles = round_to_grid(tiled(photo))
with torch.no_grad():
    z = revnet.encode(tiles)
    decoded = {
        "RevNet": joined(revnet.decode(z)),
        f"RevNet, {DIMS} dims a tile": joined(revnet.decode(prior.clamp(z))),
        f"VAE, {DIMS} dims a tile": joined(vae.decode(vae.encode(tiles))),
    }
latent = ddim(2 * photo - 1, times)
decoded[f"DDIM, {DDIM_STEPS} steps"] = (ddim(latent, times.flip(0)) + 1) / 2
for name, picture in decoded.items():
    error = (picture - joined(tiles)).abs()
    changed = ((picture * 255).round() != (photo * 255).round()).float().mean()
    print(
        f"{name:24} largest error {error.max():.1e}, mean {error.mean():.1e}, "
        f"bytes that changed {changed:.1%}"
    )

# %% [markdown]
# ## The pictures
#
# The last one is the error of DDIM, enlarged ten times around grey.

# %%
error = decoded[f"DDIM, {DDIM_STEPS} steps"] - photo
pictures = {"photograph": photo, **decoded, "error of DDIM, x 10": 0.5 + 10 * error}
figure, panels = plt.subplots(2, 3, figsize=(9, 4.2), layout="constrained")
for panel, (name, picture) in zip(panels.flat, pictures.items(), strict=True):
    panel.imshow(picture[0].permute(1, 2, 0).clamp(0, 1))
    panel.set_title(name, fontsize=9)
    panel.axis("off")
plt.show()

# %% [markdown]
# A larger and better trained denoiser errs less, as do more steps; none of them is exact. What a
# reversible network may be trained for, with the same exactness: {doc}`your own images
# <your_own_images>`.
