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
# # Within a classifier of your own
#
# The middle of a network is where it is deep, and where its activations are. Here it is a chain of
# couplings within an ordinary classifier, computed in three ways: activations stored, recomputed by
# `torch.utils.checkpoint`, and recovered by inverting the couplings.

# %%
import time

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint_sequential

import genrev
from genrev.bench import peak_bytes

DEPTH, CHANNELS, BATCH = 16, 24, 100
ROUNDS = 3  # of timing; the fastest counts, for clocks are noisy
STEPS = 40

torch.manual_seed(0)

# %% [markdown]
# ## The classifier
#
# `ReversibleSequential` is a module like any other: it has parameters, moves to a device and goes
# into a `state_dict`. What comes before and after it needs no inverse.


# %%
def half():
    """f or g: from one half of the channels to the other."""
    layers = (
        nn.GroupNorm(4, CHANNELS // 2),
        nn.SiLU(),
        nn.Conv2d(CHANNELS // 2, CHANNELS // 2, 3, 1, 1),
    )
    return nn.Sequential(*layers)


class Classifier(nn.Module):
    """Digits (N, 1, 8, 8) to logits (N, 10)."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.stem = nn.Conv2d(1, CHANNELS, 3, padding=1)
        blocks = [genrev.AdditiveCoupling(half(), half()) for _ in range(DEPTH)]
        memory = "reversible" if way == "reversible" else "stored"
        self.trunk = genrev.ReversibleSequential(*blocks, memory=memory)
        self.head = nn.Linear(CHANNELS * 64, 10)

    def forward(self, x):
        x = self.stem(x)
        if self.way == "checkpoint":  # about as many segments as there are blocks in each
            x = checkpoint_sequential(list(self.trunk), 4, x, use_reentrant=False)
        else:
            x = self.trunk(x)
        return self.head(x.flatten(1))


# %% [markdown]
# Each way gets the same weights and the same digits, which come with scikit-learn.


# %%
def classifier(way):
    """The same weights in every way."""
    torch.manual_seed(0)
    return Classifier(way)


data = genrev.load_images("digits", split="train")
labels = torch.from_numpy(data.labels.copy())


def step(net, chosen):
    """Forward and backward pass on a batch; the loss."""
    loss = nn.functional.cross_entropy(net(data.tensor(chosen)), labels[chosen])
    loss.backward()
    return loss.item()


# %% [markdown]
# ## Memory and speed, in one run
#
# Every round times each way once, so whatever else the machine does hits all of them. A checkpoint
# keeps one activation a segment, so at least twice the root of the depth; couplings keep one.

# %%
nets = {way: classifier(way) for way in ("stored", "checkpoint", "reversible")}
batch = torch.arange(BATCH)
seconds = {way: [] for way in nets}
for _ in range(ROUNDS + 1):  # the first one warms up, and allocates gradients
    for way, net in nets.items():
        start = time.perf_counter()
        step(net, batch)
        seconds[way].append(time.perf_counter() - start)
peaks = {
    way: peak_bytes(lambda net=net: step(net, batch), torch.device("cpu")) / 2**20
    for way, net in nets.items()
}
fastest = {way: min(times[1:]) for way, times in seconds.items()}
for way in nets:
    ratio = fastest[way] / fastest["stored"]
    print(f"{way:11} peak {peaks[way]:6.1f} MiB, {ratio:.2f} times as long as stored")

figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
for way in nets:
    axis.scatter(fastest[way] / fastest["stored"], peaks[way], label=way)
axis.set(xlabel="time of a step, stored = 1", ylabel="peak of activations, MiB", ylim=(0, None))
axis.legend()
plt.show()

# %% [markdown]
# ## Gradients
#
# All three agree up to rounding.

# %%
gradients = {}
for way in nets:
    net = classifier(way)
    step(net, batch)
    gradients[way] = torch.cat([p.grad.flatten() for p in net.parameters()])
for way in ("checkpoint", "reversible"):
    difference = (gradients[way] - gradients["stored"]).norm() / gradients["stored"].norm()
    print(f"relative difference of the gradients, {way}: {difference:.1e}")

# %% [markdown]
# ## Training
#
# As with any other module.

# %%
net = classifier("reversible")
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for _ in range(STEPS):
    optimizer.zero_grad()
    loss = step(net, torch.randint(len(data), (BATCH,)))
    optimizer.step()
test = genrev.load_images("digits", split="test")
with torch.no_grad():
    guessed = net(test.tensor(range(len(test)))).argmax(1)
correct = (guessed == torch.from_numpy(test.labels.copy())).float().mean()
print(f"loss at the end {loss:.2f}; {correct:.0%} of the test images are classified correctly")

# %% [markdown]
# Blocks of your own work in the chain as well: two functions, `forward` and `inverse`. Peaks
# against depth: {doc}`memory against depth <memory_against_depth>`.
