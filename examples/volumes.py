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
# # Volumes
#
# A scan of 32x32x32 voxels is a small one, and still every layer of a network on it keeps hundreds
# of thousands of numbers for the backward pass. A reversible network computes them again: 64
# couplings need the memory of 2.

# %%
import matplotlib.pyplot as plt
import torch

import genrev
from genrev.bench import peak_bytes
from genrev.reversible import round_to_grid

DEPTHS = (2, 8, 64)  # couplings
SIDE, BATCH = 32, 1

torch.manual_seed(0)

# %% [markdown]
# ## The volumes
#
# Balls of several sizes and places, blurred at the rim.

# %%
axes = torch.meshgrid(*[torch.linspace(-1, 1, SIDE)] * 3, indexing="ij")
places = torch.stack(axes)  # (3, D, H, W)


def balls(n):
    """Volumes (n, 1, D, H, W) in [0, 1]."""
    centres, radii = torch.rand(n, 3, 1, 1, 1) - 0.5, 0.2 + 0.3 * torch.rand(n, 1, 1, 1)
    distances = (places - centres).square().sum(1).sqrt()
    return torch.sigmoid(20 * (radii - distances)).unsqueeze(1)


x = balls(BATCH)

# %% [markdown]
# ## The network
#
# The list of three sizes says that it is for volumes, so f and g are three-dimensional
# convolutions, and a subsampling makes eight channels of one.


# %%
def network(couplings, **engine):
    """The same weights for the same depth, however it is computed."""
    torch.manual_seed(couplings)
    shape = genrev.RevNetConfig(
        image_size=(SIDE, SIDE, SIDE),
        channels=1,
        hidden_channels=(4,),
        blocks=(couplings,),
        kernel_sizes=(3,),
    )
    return genrev.RevNet(shape, genrev.Engine(**engine))


def step(net):
    """Forward and backward pass of some loss."""
    net.encode(x).square().mean().backward()


# %% [markdown]
# ## Memory against depth
#
# Measured by `peak_bytes`, after a first step that allocates the gradients.

# %%
peaks, deepest = {"stored": [], "reversible": []}, {}
for memory, values in peaks.items():
    for depth in DEPTHS:
        net = network(depth, memory=memory)
        step(net)
        values.append(peak_bytes(lambda net=net: step(net), x.device) / 2**20)
    deepest[memory] = net

print(f"{'couplings':>10}{'stored':>10}{'reversible':>12}  MiB")
for depth, stored, reversible in zip(DEPTHS, *peaks.values(), strict=True):
    print(f"{depth:10}{stored:10.1f}{reversible:12.1f}")
growth = peaks["reversible"][-1] / peaks["reversible"][0]
print(f"from {DEPTHS[0]} to {DEPTHS[-1]} couplings: {growth:.2f} times the memory")

figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
for memory, values in peaks.items():
    axis.plot(DEPTHS, values, marker="o", label=memory)
axis.set(xlabel="couplings", ylabel="peak of activations, MiB", ylim=(0, None))
axis.legend()
plt.show()

# %% [markdown]
# ## The gradients are those of stored activations
#
# Up to the rounding of the number format, and in fixed point (`exact=True`) to the last bit. So is
# the volume that comes back from its latents.


# %%
def difference(nets):
    """Largest difference of the gradients of two networks, over the largest gradient."""
    one, other = (torch.cat([p.grad.flatten() for p in net.parameters()]) for net in nets)
    return float((one - other).abs().max() / one.abs().max())


print(f"difference of the gradients in float32:     {difference(deepest.values()):.1e}")
exact = [network(DEPTHS[-1], memory=memory, exact=True) for memory in peaks]
for net in exact:
    step(net)
print(f"difference of the gradients in fixed point: {difference(exact):.1e}")

grid = round_to_grid(x)
with torch.no_grad():
    print(f"the same volume comes back: {torch.equal(net.decode(net.encode(grid)), grid)}")

# %% [markdown]
# With a prior the network is a model that samples, is saved and exported; signals and images that
# are not square are lists of one and two sizes. What recomputing costs:
# {doc}`memory against depth <memory_against_depth>`.
