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
# # A loop of your own
#
# Objectives are functions of tensors, a network is a `torch.nn.Module`, and a prior is one, too. So
# training needs nothing of genrev but these: here is a plain PyTorch loop, without command line,
# configuration or trainer.

# %%
import matplotlib.pyplot as plt
import torch

import genrev
from genrev.figures import sample_sheet
from genrev.objectives import clamp_penalty, clamped_reconstruction_loss, sliced_wasserstein
from genrev.priors import ActiveGaussian, largest_std_dims

STEPS = 150  # 3,000 give clean digits

torch.manual_seed(0)

# %% [markdown]
# ## Network and prior
#
# The prior is a standard normal on the eight latent dimensions that vary most over the images as
# long as the network is untrained. All other dimensions are zero in a sample.

# %%
data = genrev.load_images("digits")
net = genrev.revnet("digits")
with torch.no_grad():
    spread = net.encode(data.tensor(range(len(data)))).std(dim=0)
prior = ActiveGaussian(net.latent_dim, largest_std_dims(spread, 8), bound=2.0)

# %% [markdown]
# ## The loss
#
# An image has to come back from its eight active dimensions alone, and the active dimensions of all
# images together have to look like samples of the prior.


# %%
def losses(x):
    """Three losses of a batch of images (N, C, H, W) in [0, 1]."""
    z = net.encode(x)
    clamped = prior.clamp(z)
    return {
        "reconstruction": 10 * clamped_reconstruction_loss(x, clamped, net.decode),
        "clamp": 10 * clamp_penalty(z, clamped),
        "distance": sliced_wasserstein(prior.restrict(z), prior.restrict(prior.sample(len(x)))),
    }


# %% [markdown]
# ## The loop
#
# As for any other module. Gradients go through `encode` and `decode`, whose activations are
# computed again in the backward pass and take no memory meanwhile.

# %%
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for step in range(STEPS):
    chosen = torch.randint(len(data), (100,))
    parts = losses(data.tensor(chosen))
    optimizer.zero_grad()
    sum(parts.values()).backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimizer.step()
    if step in (0, STEPS - 1):
        print(
            f"step {step:3d}: " + ", ".join(f"{name} {v.item():.3f}" for name, v in parts.items())
        )

# %% [markdown]
# ## A model
#
# Network and prior together are a model, which samples, saves and loads as all others do.

# %%
model = genrev.GenerativeModel(net, prior).eval()
sheet = sample_sheet(model, 36, seed=0)
plt.figure(figsize=(5, 5))
plt.imshow(sheet)
plt.axis("off")
plt.show()

# %% [markdown]
# The same loss within Lightning (`lightning_module.py`) and with {doc}`accelerate
# <accelerate_loop>`. A loss that is to be had from the command line, with resuming and all
# reports, is a *method*: one class in one file, see the guide to extending genrev.
