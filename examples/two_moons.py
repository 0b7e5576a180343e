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
# # Two moons
#
# Vectors instead of images: a reversible network learns the density of points in the plane by
# maximum likelihood, in a plain PyTorch loop, beside a neural spline flow of
# [zuko](https://zuko.readthedocs.io) (`pip install "genrev[flows]"`) of as many parameters that is
# given the same time.

# %%
import math
import time

import matplotlib.pyplot as plt
import torch
import zuko

import genrev

SECONDS = 7.0  # of training for each; more brings both nearer to the true density
BATCH = 256

torch.manual_seed(0)
torch.set_num_threads(1)  # networks this small gain nothing from more

# %% [markdown]
# ## The data
#
# Two half circles with normal noise, new points whenever they are asked for. So nothing can be
# learned by heart, and the true density is known: the mean of the noise's density over all centres.

# %%
NOISE = 0.05


def centres(angles):
    """Of points without noise: for angles (N,) from 0 to pi one moon each, (2, N, 2)."""
    upper = torch.stack([angles.cos(), angles.sin()], 1)
    lower = torch.stack([1 - angles.cos(), 0.5 - angles.sin()], 1)
    return torch.stack([upper, lower])


def moons(n):
    """New points (n, 2)."""
    both = centres(math.pi * torch.rand(n))
    return both[torch.randint(2, (n,)), torch.arange(n)] + NOISE * torch.randn(n, 2)


def true_log_prob(x):
    """Log-density (N,) of points (N, 2), in nats."""
    middle = centres(math.pi * (torch.arange(1000) + 0.5) / 1000).flatten(0, 1)
    squares = torch.cdist(x, middle).square() / NOISE**2
    return (-squares / 2).logsumexp(1) - math.log(len(middle) * 2 * math.pi * NOISE**2)


# %% [markdown]
# ## The networks
#
# Four affine couplings, each with two residual networks, and a learned rotation between them.
# Every coupling takes one coordinate at a time, so the rotations are what lets them meet. With
# activations as few as here keeping them is faster than recomputing them.

# %%
shape = genrev.VectorFlowConfig(features=2, couplings=4, hidden=36)
flow = genrev.VectorFlow(shape, engine=genrev.Engine(memory="stored"))
flow.initialise_(moons(1000))
spline = zuko.flows.NSF(2)


class Learner:
    """A network in training: a step at a time, with a rate that rises at first and then falls."""

    def __init__(self, network, log_prob, lr):
        self.network, self.log_prob, self.lr = network, log_prob, lr
        self.optimizer = torch.optim.Adam(network.parameters(), lr, fused=True)
        self.seconds, self.steps = 0.0, 0

    def step(self):
        start = time.process_time()
        done = self.seconds / SECONDS
        self.optimizer.param_groups[0]["lr"] = self.lr * min(
            1, (self.steps + 1) / 20, (1 - done) / 0.7
        )
        loss = -self.log_prob(moons(BATCH)).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.seconds, self.steps = self.seconds + time.process_time() - start, self.steps + 1


# %% [markdown]
# ## Training
#
# The one that has had less time so far takes the next step. Each has the best of the rates that
# were tried for it: 0.006, 0.01 and 0.02, and for the spline flow 0.002, 0.003, 0.005 and 0.01.

# %%
learners = {
    "genrev": Learner(flow, flow.log_prob, 0.02),
    "zuko's NSF": Learner(spline, lambda x: spline().log_prob(x), 0.005),
}
while True:
    behind = min(learners.values(), key=lambda learner: learner.seconds)
    if behind.seconds >= SECONDS:
        break
    behind.step()

# %% [markdown]
# ## Held-out log-likelihood

# %%
held_out = moons(10_000)
with torch.no_grad():
    print(f"the true density: {true_log_prob(held_out).mean():.3f} nats")
    for name, learner in learners.items():
        count = sum(p.numel() for p in learner.network.parameters())
        print(
            f"{name}: {learner.log_prob(held_out).mean():.3f} nats, {count:,} parameters, "
            f"{learner.steps} steps in {learner.seconds:.1f} s"
        )
    error = (flow.decode(flow.encode(held_out)) - held_out).abs().max()
print(f"largest error of decode(encode(x)): {error:.1e}")

# %% [markdown]
# ## The density
#
# In one scale of colours, with samples of the network in the last panel.

# %%
across, up = torch.linspace(-1.4, 2.4, 228), torch.linspace(-0.9, 1.4, 138)
grid = torch.cartesian_prod(up, across).flip(1)
with torch.no_grad():
    densities = {name: learner.log_prob(grid).exp() for name, learner in learners.items()}
    densities["the true density"] = true_log_prob(grid).exp()
    samples = flow.sample(1000)

figure, axes = plt.subplots(2, 2, figsize=(8, 5.2), layout="constrained")
extent = (float(across[0]), float(across[-1]), float(up[0]), float(up[-1]))
for axis, (name, density) in zip(axes.flat, densities.items(), strict=False):
    axis.imshow(density.view(138, 228), extent=extent, origin="lower", vmin=0, vmax=1.5)
    axis.set_title(name)
axes[1, 1].scatter(*samples.T, s=2)
axes[1, 1].set(title="samples of genrev", xlim=extent[:2], ylim=extent[2:], aspect="equal")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# A prior on the latents other than the standard normal, conditions (`context=`) and everything else
# that a network on vectors can do: the page on the reversible engine.
