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
# # Train and sample
#
# One network is encoder and decoder. `encode` maps an image $x$ to a vector $z$ with as many
# numbers as the image has pixels, `decode` is the exact inverse. Training does not have to teach
# the network to invert itself; it only has to arrange *where* images land, so that a $z$ we draw
# decodes to an image. Here that happens on scikit-learn's 8x8 digits, which need no download.

# %%
import tempfile
from pathlib import Path
from pprint import pprint

import matplotlib.pyplot as plt
import torch

import genrev
from genrev.data import load_images
from genrev.evaluation import evaluate
from genrev.figures import image_grid, read_metrics, sample_sheet
from genrev.recipes import load_recipe
from genrev.training import train

STEPS = 300  # the recipe has 2,000: smoother digits, and about half of this distance at the end

run = Path(tempfile.mkdtemp()) / "digits"


def show(picture, width=7):
    """Show a picture that `genrev.figures` made."""
    plt.figure(figsize=(width, width * picture.height / picture.width))
    plt.imshow(picture, cmap="gray")
    plt.axis("off")
    plt.show()


# %% [markdown]
# ## Images
#
# Images are floats in [0, 1] of shape (N, channels, height, width).

# %%
images, held_out = load_images("digits", "train"), load_images("digits", "test")
x = held_out.tensor(range(20))
print(f"{len(images)} images to train on, {len(held_out)} held out, each {images.image_shape}")
show(image_grid(x, columns=10), width=6)

# %% [markdown]
# ## Invertible before any training
#
# A block splits its input into two halves and adds to each a function of the other:
#
# $$y_1 = f(x_2) + x_1, \qquad y_2 = g(y_1) + x_2 .$$
#
# Read from the end it is undone by subtraction, $x_2 = y_2 - g(y_1)$ and $x_1 = y_1 - f(x_2)$,
# whatever $f$ and $g$ are: ordinary convolutions here, with random weights. The error is rounding.

# %%
untrained = genrev.revnet("digits")
with torch.no_grad():
    z = untrained.encode(x)
    error = (untrained.decode(z) - x).abs().max()
print(f"8 x 8 pixels become {z.shape[1]} latent dimensions")
print(f"largest error of a pixel on the way there and back: {error:.1e}")
assert error < 1e-5

# %% [markdown]
# ## The objective
#
# Drawing 64 numbers that fit together is as hard as drawing 64 pixels. So the prior lives on $k =
# 16$ *active* dimensions, one Gaussian per digit, and everything else is pinned to zero.
# `prior.clamp` projects an encoding onto that restricted space. Three terms:
#
# $$
# 10\,\lVert x - \mathrm{decode}(\mathrm{clamp}(z)) \rVert_1
# + 10\,\lVert z - \mathrm{clamp}(z) \rVert_2^2
# + 0.1\,\mathrm{OT}(z_\mathrm{active}, s), \qquad z = \mathrm{encode}(x),\ s \sim \mathrm{prior} .
# $$
#
# The first wants all that matters in the active dimensions, the second wants nothing in the others.
# The third is a (debiased) optimal transport distance that moves encodings and Gaussians onto each
# other; it sets in after a quarter of the steps.
#
# A recipe holds all these numbers. This one is `digits-transport`, cut short.

# %%
config = load_recipe(
    "digits-transport", {"batch_size": 100, "trainer": {"max_steps": STEPS, "progress": False}}
)
pprint({name: config.plain()[name] for name in ("prior", "method", "optimizer")}, sort_dicts=False)

# %%
model = train(config, run)
print(*sorted(path.name for path in run.iterdir()), sep="\n")

# %% [markdown]
# The folder holds the model, its configuration and every loss by step. The dashed line is where
# transport sets in. It may well grow at first: batches of past steps take part from there on, and
# Gaussians and encodings have to find each other.

# %%
metrics = read_metrics(run / "metrics.csv")
figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
for axis, name in zip(axes, ("reconstruction", "clamp", "transport"), strict=True):
    axis.plot(list(metrics[name]), list(metrics[name].values()))
    axis.set(title=name, xlabel="step", xlim=(0, STEPS))
    axis.axvline(STEPS / 4, color="0.7", linestyle="--")
plt.show()

# %% [markdown]
# ## Samples
#
# Draw 16 numbers from a digit's Gaussian, put zeros everywhere else, decode. One row per digit; the
# images within a row should differ, as people's handwriting does.

# %%
show(sample_sheet(model, 100, seed=0))

# %% [markdown]
# `model.sample` gives the same as a tensor. A generator makes it repeatable.

# %%
sevens = model.sample(10, label=7, generator=torch.Generator().manual_seed(1))
print(sevens.shape, f"from {sevens.min():.2f} to {sevens.max():.2f}")
show(image_grid(sevens, columns=10), width=6)

# %% [markdown]
# ## One number, and what it is measured on
#
# The Fréchet distance compares mean and covariance of features of samples and of held-out images;
# smaller is better. Precision is the share of samples that lie among real images, recall the
# share of real images that lie among samples. A distance means something beside another one in
# the same features only, so first the untrained network, which draws from the prior that training
# begins with.

# %%
beginning = {"batch_size": 100, "trainer": {"max_steps": 1, "progress": False}}
start = train(load_recipe("digits-transport", beginning), run.with_name("start"))
for name, judged in (("after 1 step", start), (f"after {STEPS} steps", model)):
    report = evaluate(judged, held_out, ["frechet", "prdc"], n=1000)
    print(
        f"{name:>16}: Fréchet distance {report['frechet']['distance']:.1f}, "
        f"precision {report['prdc']['precision']:.2f}, recall {report['prdc']['recall']:.2f}"
    )
print(f"{report['frechet']['samples']} samples, features {report['frechet']['features']}")

# %% [markdown]
# ## Use it again
#
# `genrev.load` takes the folder. Loading reads numbers and names; it cannot execute anything.

# %%
again = genrev.load(run)
repeated = again.sample(10, label=7, generator=torch.Generator().manual_seed(1))
assert torch.equal(repeated, sevens)
print("the loaded model draws the same images")

# %% [markdown]
# The same from the command line, with the whole recipe (about two minutes on two cores):
#
# ```
# genrev train digits-transport --out runs/digits
# genrev sample runs/digits -n 100 --out samples.png
# genrev evaluate runs/digits --metrics frechet,prdc
# ```
