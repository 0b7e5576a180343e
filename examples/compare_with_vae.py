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
# # Compare with a VAE
#
# A variational autoencoder learns an encoder and a decoder that are two different networks, and a
# latent space much smaller than the image. A reversible network has one network and as many
# latent dimensions as pixels. Here both get the same images, about the same time and as many
# parameters, and one evaluator judges them.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import genrev
from genrev.data import load_images
from genrev.evaluation import compare_models
from genrev.figures import image_grid
from genrev.recipes import load_recipe
from genrev.training import train

# About the same time for both; a step of the VAE is the cheaper one. More steps make both better:
# their recipes have 2,000 each.
STEPS = {"digits-transport": 200, "digits-vae": 500}
SAMPLES = 500  # per model and seed; published numbers take 10,000

runs = Path(tempfile.mkdtemp())


def show(picture, width=8):
    """Show a picture that `genrev.figures` made."""
    plt.figure(figsize=(width, width * picture.height / picture.width))
    plt.imshow(picture, cmap="gray")
    plt.axis("off")
    plt.show()


# %% [markdown]
# ## Two objectives
#
# The VAE bounds the likelihood. Its decoder must rebuild $x$ from a *random* code, and the codes
# are drawn to the prior one by one:
#
# $$
# \mathbb{E}_{z \sim q(z|x)} \bigl[ \tfrac{1}{2v} \lVert x - \mathrm{decode}(z) \rVert^2 \bigr]
# + \mathrm{KL}\bigl( q(z|x) \,\Vert\, N(0, 1) \bigr) .
# $$
#
# The noise in $z$ makes different images share a code, and the best answer to a shared code is the
# mean of these images: a blur. The reversible network needs no noise. Its decoder is the inverse
# already, and optimal transport draws the codes to the prior *together*, as a distribution:
#
# $$
# 10\,\lVert x - \mathrm{decode}(\mathrm{clamp}(z)) \rVert_1
# + 10\,\lVert z - \mathrm{clamp}(z) \rVert_2^2 + 0.1\,\mathrm{OT}(z, s) .
# $$
#
# One more difference is in favour of the reversible network: its prior knows the digits' labels,
# one Gaussian for each. The VAE's is a single normal.

# %%
for recipe, steps in STEPS.items():
    trainer = {"max_steps": steps, "progress": False}
    train(load_recipe(recipe, {"batch_size": 100, "trainer": trainer}), runs / recipe)

models = {"RevNet": genrev.load(runs / "digits-transport"), "VAE": genrev.load(runs / "digits-vae")}
for name, model in models.items():
    print(f"{name:>6}: {model.info['steps']} steps in {model.info['seconds']:.0f} s")

# %% [markdown]
# ## Table
#
# Samples are drawn with three seeds; ± is a 95 % confidence interval of the mean over them. It
# says how far other samples of these two models would move a number, not what another training
# would give.

# %%
held_out = load_images("digits", "test")
comparison = compare_models(models, held_out, n=SAMPLES, seeds=(0, 1, 2), split="test")
rows = {row["name"]: row for row in comparison["models"]}


def sampled(name, digits):
    """One line of a measure that depends on the samples."""
    values = (row[name] for row in rows.values())
    cells = (f"{v['mean']:.{digits}f} ± {v['half_width']:.{digits}f}" for v in values)
    return "".join(f"{cell:>16}" for cell in cells)


def error(space):
    """One line of reconstruction errors."""
    return "".join(f"{row['reconstruction'][space]['l1']:16.2g}" for row in rows.values())


print(f"{'':22}" + "".join(f"{name:>16}" for name in rows))
print(f"{'Fréchet distance':22}" + sampled("distance", 1))
print(f"{'precision':22}" + sampled("precision", 2))
print(f"{'recall':22}" + sampled("recall", 2))
print(f"{'L1 error, restricted':22}" + error("restricted"))
print(f"{'L1 error, full':22}" + error("full"))
print(f"{'parameters':22}" + "".join(f"{row['parameters']:16,}" for row in rows.values()))
print(f"{comparison['samples']} samples against {comparison['reference_count']} held-out images")

# %% [markdown]
# What to look for:
#
# - **Fréchet distance** (smaller is better): the VAE's is larger. Its samples are blurred, and
#   some lie between two digits.
# - **L1 error, full**: rounding alone for the RevNet. The VAE has no full latent space to fall
#   back on, so both of its errors are the same.
# - **L1 error, restricted** compares the bottlenecks. They are not equally wide: 16 numbers against
#   the VAE's eight.

# %%
assert rows["RevNet"]["reconstruction"]["full"]["l1"] < 1e-5
assert rows["VAE"]["reconstruction"]["full"]["l1"] > 1e-3

# %% [markdown]
# ## Samples side by side
#
# One row of held-out images and one row of samples per model. Nothing is selected.

# %%
columns = 12
pictures = [held_out.tensor(range(columns))]
pictures += [m.sample(columns, generator=torch.Generator().manual_seed(0)) for m in models.values()]
show(image_grid(torch.cat(pictures), columns, row_labels=["real images", *models]))

# %% [markdown]
# ## Reconstructions side by side
#
# The same images through each bottleneck, and through the RevNet's full latent space.

# %%
x = held_out.tensor(range(columns))
restored = [x, *(model.reconstruct(x) for model in models.values())]
restored.append(models["RevNet"].reconstruct(x, restricted=False))
labels = ["real images", "RevNet, 16 numbers", "VAE, 8 numbers", "RevNet, all 64"]
show(image_grid(torch.cat(restored), columns, row_labels=labels))

# %% [markdown]
# From the command line, for any runs, with a Markdown table, CSV and this figure:
#
# ```
# genrev compare runs/digits-transport runs/digits-vae --out comparison
# ```
#
# On MNIST, with the same training time for all: the results page of the documentation, Table 1.
