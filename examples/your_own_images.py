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
# # Your own images
#
# Any folder of images is a data set. This notebook draws one first, so that it can run anywhere;
# point `FOLDER` at yours and leave that cell out. Labels are not needed.

# %%
import colorsys
import random
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from PIL import Image, ImageDraw

import genrev
from genrev.data import DataConfig, load_images
from genrev.figures import image_grid, reconstruction_rows, sample_sheet
from genrev.recipes import parse_config
from genrev.training import train

STEPS = 200  # 3,000 give clean edges; photographs want more still, and a larger network
SIZE = 16  # pixels, divisible by two once for every stage of the network below

work = Path(tempfile.mkdtemp())
FOLDER = work / "images"


def show(picture, width=8):
    """Show a picture that `genrev.figures` made."""
    plt.figure(figsize=(width, width * picture.height / picture.width))
    plt.imshow(picture)
    plt.axis("off")
    plt.show()


# %% [markdown]
# ## A folder of images
#
# A disc of one colour on a dark ground. Place, size and hue vary, so four numbers describe an
# image.

# %%
FOLDER.mkdir()
random.seed(0)
for i in range(600):
    side = random.uniform(26, 40)
    left, top = random.uniform(2, 62 - side), random.uniform(2, 62 - side)
    hue = colorsys.hsv_to_rgb(random.random(), 0.7, 1)
    picture = Image.new("RGB", (64, 64), (20, 20, 30))
    draw = ImageDraw.Draw(picture)
    fill = tuple(round(255 * c) for c in hue)
    draw.ellipse((left, top, left + side, top + side), fill)
    picture.save(FOLDER / f"{i:03d}.png")

# %% [markdown]
# `DataConfig` says how files become tensors of one shape. They are decoded once, into a cache.
# Folders called `train` and `test` inside would be splits; other subfolders would be classes.

# %%
data = DataConfig(source=str(FOLDER), image_size=SIZE, channels=3, cache=str(work / "cache"))
images = load_images(data)
print(f"{len(images)} images of shape {images.image_shape}, {images.num_classes} class")
x = images.tensor(range(12))
show(image_grid(x, columns=12))

# %% [markdown]
# ## A network for this size
#
# One entry per stage. Every stage first moves pixels into channels (half the height and width, four
# times the channels), so 3 x 16 x 16 becomes 12 x 8 x 8, then 48 x 4 x 4, then 192 x 2 x 2.

# %%
network = genrev.RevNetConfig(
    image_size=SIZE,
    channels=3,
    hidden_channels=(16, 48, 96),
    blocks=(1, 1, 2),
    kernel_sizes=(3, 3, 3),
)
print(f"{sum(p.numel() for p in genrev.RevNet(network).parameters()):,} parameters")

# %% [markdown]
# ## Train
#
# Without labels the prior is one standard normal. The method is `matching`: reconstruction
# through 8 active dimensions, and a distance that draws their distribution to the prior, here the
# sliced Wasserstein distance,
#
# $$
# \mathrm{SW}(z, s) = \mathbb{E}_{\theta}\, \lVert \mathrm{sort}(\theta^\top z)
# - \mathrm{sort}(\theta^\top s) \rVert , \qquad s \sim N(0, 1) :
# $$
#
# along a random direction $\theta$ the best pairing of two samples is found by sorting.
# `exact=True` keeps the numbers between the blocks in fixed point, which matters below.

# %%
config = parse_config(
    {
        "batch_size": 50,
        "data": data.plain(),
        "network": network.plain(),
        "prior": {"kind": "gaussian", "active_dims": 8, "bound": 2},
        "method": {"name": "matching", "criterion": "sliced"},
        "optimizer": {"lr": 2e-3, "betas": [0.9, 0.99], "schedule": "linear", "clip": 5},
        "engine": {"memory": "stored", "exact": True},
        "trainer": {"max_steps": STEPS, "progress": False},
    },
    source="this notebook",
)
model = train(config, work / "run")

# %% [markdown]
# ## Reconstruct: restricted and full
#
# Top: images. Middle: through 8 numbers alone, a summary that has place, size and colour, and not
# yet a sharp edge. Bottom: through all 768, the image itself.

# %%
show(reconstruction_rows(model, x))

# %% [markdown]
# ## The round trip is exact
#
# In floating point $(x + a) - a$ is not quite $x$. In fixed point it is, at any depth, so the 8-bit
# pixels come back without a single change. The restricted reconstruction is an approximation.

# %%
pixels = (x * 255).round()
full = (model.reconstruct(x, restricted=False) * 255).round()
restricted = (model.reconstruct(x).clamp(0, 1) * 255).round()
print(f"values that changed, full:       {(full != pixels).sum()} of {pixels.numel()}")
print(f"values that changed, restricted: {(restricted != pixels).sum()} of {pixels.numel()}")
print(f"mean error, restricted:          {(restricted - pixels).abs().mean():.1f} of 255")
assert torch.equal(full, pixels)

# %% [markdown]
# Exact holds for images that the model was never meant for, too: noise comes back bit for bit. An
# autoencoder with a bottleneck cannot do that.

# %%
noise = torch.randint(0, 256, (4, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
again = (model.reconstruct(noise / 255, restricted=False) * 255).round()
assert torch.equal(again, noise.float())
print("noise came back exactly")

# %% [markdown]
# ## New images
#
# Drawn from the prior. After so few steps most are discs with place and colour of their own;
# outlines are soft, some pixels stray, and a few samples mix two colours.

# %%
show(sample_sheet(model, 36, seed=0), width=5)

# %% [markdown]
# The same from the command line, with a recipe made for 32x32 pictures:
#
# ```
# genrev train faces-small-mixture --data my/photos --out runs/photos
# genrev reconstruct runs/photos --images photo.png --out reconstruction.png
# ```
