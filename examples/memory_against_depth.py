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
# # Memory against depth
#
# The backward pass of an ordinary network needs what every layer computed on the way forward, so
# memory grows with depth. A reversible block can compute its input again from its output. Then
# one output, the last, is all that has to be kept, however deep the network is.

# %%
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

import genrev
from genrev.bench import peak_bytes

DEPTHS = (2, 4, 8, 16, 32)  # couplings in the chain
BATCH, CHANNELS, HIDDEN, SIDE = 8, 16, 32, 32

torch.manual_seed(0)
x = torch.rand(BATCH, CHANNELS, SIDE, SIDE)

# %% [markdown]
# ## A chain, in two modes
#
# Each block couples the two halves of the channels, and $f$ and $g$ are small convolutional
# networks:
#
# $$y_1 = f(x_2) + x_1, \qquad y_2 = g(y_1) + x_2 .$$
#
# `memory="stored"` is plain autograd. `memory="reversible"` keeps the last output and recovers
# $x_2 = y_2 - g(y_1)$ and $x_1 = y_1 - f(x_2)$ block by block in the backward pass.


# %%
def half():
    """f or g: from one half of the channels to the other."""
    return nn.Sequential(
        nn.Conv2d(CHANNELS // 2, HIDDEN, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(HIDDEN, CHANNELS // 2, 3, padding=1),
    )


def chain(depth, memory):
    """The same weights for the same depth, whatever the mode."""
    torch.manual_seed(depth)
    blocks = [genrev.AdditiveCoupling(half(), half()) for _ in range(depth)]
    return genrev.ReversibleSequential(*blocks, memory=memory)


def step(net):
    """Forward and backward pass of some loss."""
    net(x).square().mean().backward()


# %% [markdown]
# ## The same gradients
#
# Recomputed activations differ from stored ones by rounding, so gradients do as well.

# %%
gradients = {}
for memory in ("stored", "reversible"):
    net = chain(8, memory)
    step(net)
    gradients[memory] = torch.cat([p.grad.flatten() for p in net.parameters()])
difference = (gradients["stored"] - gradients["reversible"]).norm() / gradients["stored"].norm()
print(f"relative difference of the gradients: {difference:.1e}")
assert difference < 1e-3

# %% [markdown]
# ## Measure
#
# `peak_bytes` reads PyTorch's own records of what it allocates and frees, so it works on a CPU
# too, and counts what recomputing needs. A first step fills `.grad`, which both modes need and
# which is therefore left out.

# %%
peaks = {"stored": [], "reversible": []}
for memory, values in peaks.items():
    for depth in DEPTHS:
        net = chain(depth, memory)
        step(net)
        values.append(peak_bytes(lambda net=net: step(net), x.device) / 2**20)

print(f"{'couplings':>10}{'stored':>10}{'reversible':>12}  MiB")
for depth, stored, reversible in zip(DEPTHS, *peaks.values(), strict=True):
    print(f"{depth:10}{stored:10.1f}{reversible:12.1f}")

# %% [markdown]
# ## Does it agree with a count on paper?
#
# For each of $f$ and $g$ autograd keeps the input of the first convolution ($C/2$ channels) and the
# ReLU's output ($H$ channels), which is the input of the second one as well. Per coupling that is
#
# $$2 \left( \frac{C}{2} + H \right) \cdot N \cdot \text{side}^2 \cdot 4 \text{ bytes} .$$

# %%
expected = 2 * (CHANNELS // 2 + HIDDEN) * BATCH * SIDE**2 * 4 / 2**20
measured = (peaks["stored"][-1] - peaks["stored"][0]) / (DEPTHS[-1] - DEPTHS[0])
print(f"per coupling, stored: {measured:.2f} MiB measured, {expected:.2f} MiB counted")
growth = peaks["reversible"][-1] / peaks["reversible"][0]
print(f"from {DEPTHS[0]} to {DEPTHS[-1]} couplings, reversible: {growth:.2f} times the memory")
assert growth < 1.5

# %% [markdown]
# ## The figure
#
# One line rises with depth, the other one is flat. They are close at the left, where the chain is
# so short that the work on a single block is most of what there is.

# %%
figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
for memory, values in peaks.items():
    axis.plot(DEPTHS, values, marker="o", label=memory)
axis.plot(
    DEPTHS,
    [peaks["stored"][0] + expected * (depth - DEPTHS[0]) for depth in DEPTHS],
    color="black",
    linestyle=":",
    label="stored, counted on paper",
)
axis.set(xlabel="couplings", ylabel="peak of activations, MiB", ylim=(0, None))
axis.legend()
plt.show()

# %% [markdown]
# ## What it costs
#
# The backward pass runs $f$ and $g$ once more. Counting a backward pass as two forward passes, a
# step takes 4/3 of the time on paper. Clocks are noisy: these are the fastest of five steps.

# %%
seconds = {}
for memory in peaks:
    net, times = chain(16, memory), []
    for _ in range(6):  # the first one warms up
        start = time.perf_counter()
        step(net)
        times.append(time.perf_counter() - start)
    seconds[memory] = min(times[1:])
print(f"reversible takes {seconds['reversible'] / seconds['stored']:.2f} times as long as stored")

# %% [markdown]
# Take `"reversible"` when activations do not fit: deep networks, large images, large batches.
# Take `"stored"` when they do. Every recipe can be switched: `genrev train celeba-paper
# --engine.memory stored`. How it is built, and against which other libraries it was measured: the
# engine page of the documentation, and `genrev bench engine`.
