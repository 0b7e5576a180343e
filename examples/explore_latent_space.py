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
# # Explore a latent space
#
# The `mnist` model comes with genrev, so nothing is trained or downloaded here. Its latent space
# has 1,024 dimensions, one per pixel of the padded 32x32 image, and its prior lives on 16 of
# them. What do the 16 know, and what do the other 1,008?

# %%
import matplotlib.pyplot as plt
import torch
from torch.nn.functional import interpolate, pad

import genrev
from genrev.data import load_images
from genrev.figures import (
    image_grid,
    interpolation_rows,
    reconstruction_rows,
    traversal_plane,
    traversal_rows,
)

LABEL = 3  # the digit to walk around


def show(picture, width=8):
    """Show a picture that `genrev.figures` made."""
    plt.figure(figsize=(width, width * picture.height / picture.width))
    plt.imshow(picture, cmap="gray")
    plt.axis("off")
    plt.show()


model = genrev.load("mnist")
prior = model.prior
active, classes = len(prior.active_dims), prior.num_classes
print(f"{prior.dim} dimensions, {active} of them active, {classes} classes")

# %% [markdown]
# ## Which dimensions are in use
#
# Each digit has a mixture of Gaussians of its own, fitted to its encodings. The standard deviations
# of a mixture, sorted from large to small, show how many directions the model needs for a digit. A
# `1` varies in few ways (mostly its slant), so its curve lies lowest.

# %%
figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
for label in range(prior.num_classes):
    std = prior.scale(label)[prior.active_dims].detach().sort(descending=True).values
    axis.plot(range(1, len(std) + 1), std, marker=".", label=label, color=f"C{label}")
axis.set(xlabel="rank of the dimension", ylabel="standard deviation", ylim=(0, None))
axis.legend(title="digit", ncols=2, fontsize="small")
plt.show()

# %% [markdown]
# ## Walk along single dimensions
#
# Start at the mean of a digit, $\mu$, and move one dimension: $z = \mu + t\,\sigma_i e_i$ with
# $t$ from −3 to 3. One row per dimension, the widest first. The middle column is the same image
# in every row. Look for rows that change one thing: slant, width, thickness, a loop that opens.

# %%
show(traversal_rows(model, label=LABEL, steps=9))

# %% [markdown]
# ## A plane
#
# The two widest dimensions together. Near the centre every image is a typical digit; at the
# corners, two standard deviations out in both directions, they are rare ones.

# %%
show(traversal_plane(model, label=LABEL), width=6)

# %% [markdown]
# ## Images from elsewhere
#
# Samples of the model lie on the 16 dimensions by construction, so they cannot tell us about the
# rest. Other images can: scikit-learn's digits, enlarged from 8x8 to the size of MNIST's. The
# model has never seen their blur.

# %%
small = load_images("digits", "test").tensor(range(12))
x = interpolate(small, size=20, mode="bicubic", align_corners=False).clamp(0, 1)
x = pad(x, (4, 4, 4, 4))  # MNIST's digits fill 20 of 28 pixels
show(image_grid(x, columns=12))

# %% [markdown]
# `decode(encode(x))` uses all dimensions and returns the image itself, blur and all: the network is
# invertible for *every* image. `decode(clamp(encode(x)))` keeps 16 numbers. What comes back is the
# nearest thing those can say, an MNIST digit with sharp strokes, where the image fits one.

# %%
show(reconstruction_rows(model, x))
with torch.no_grad():
    z = model.encode(x)
    full = (model.decode(z) - x).abs().mean()
    restricted = (model.decode(prior.clamp(z)) - x).abs().mean()
print(f"mean error of a pixel: full {full:.1e}, restricted {restricted:.2f}")
assert full < 1e-5 < restricted

# %% [markdown]
# Where is the blur, then? In the dimensions that clamping sets to zero: for these images they
# carry nearly half of the squared length of $z$. For what the model draws itself it is a tenth. Not
# nothing, because the network draws 32x32 pixels: cutting the frame off to MNIST's 28x28 loses what
# was in it, and so does clipping to [0, 1].


# %%
def share_outside(z):
    """Part of the squared length of z that is not in the active dimensions."""
    return 1 - prior.restrict(z).square().sum() / z.square().sum()


with torch.no_grad():
    drawn = model.decode(prior.sample(100, generator=torch.Generator().manual_seed(0)))
    codes = {
        "drawn by the model": model.encode(drawn),
        "the same, clipped": model.encode(drawn.clamp(0, 1)),
        "enlarged digits": z,
    }
for name, code in codes.items():
    print(f"{name:>20}: {share_outside(code):6.1%} outside the active dimensions")

# %% [markdown]
# ## From one image to another
#
# A straight line between two encodings, $z(t) = (1-t)\,z_a + t\,z_b$, decoded at eight places.
# First in the restricted space: both ends are clamped, and what lies between are digits.

# %%
a, b = x[[0, 2, 5]], x[[6, 3, 8]]
show(interpolation_rows(model, a, b, restricted=True))

# %% [markdown]
# Now in the full space. The ends are exact, since nothing was thrown away. Between them the other
# 1,008 dimensions mix as well, where the model was never trained to draw anything: in the middle
# you see both images at once, as in a cross-fade. The few active dimensions are what makes the
# space between images meaningful.

# %%
show(interpolation_rows(model, a, b, restricted=False))

# %% [markdown]
# To do all this with sliders, in the browser: `genrev app`.
