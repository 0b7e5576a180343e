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
# # A loop with accelerate
#
# Hugging Face's accelerate puts a plain loop on any devices. It needs `pip install accelerate`,
# and of genrev nothing special: `prepare` takes the network as any other module.

# %%
import matplotlib.pyplot as plt
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, TensorDataset

import genrev
from genrev.figures import sample_sheet
from genrev.objectives import clamp_penalty, clamped_reconstruction_loss, sliced_wasserstein
from genrev.priors import ActiveGaussian, largest_std_dims

STEPS = 150  # 3,000 give clean digits

accelerator = Accelerator(cpu=True)  # without cpu=True: the devices that are there
set_seed(0)

# %% [markdown]
# ## One module that gives the loss
#
# Processes exchange gradients when the `forward` of the prepared module has been called, so the
# loss, which both encodes and decodes, is a module of its own.


# %%
class Loss(torch.nn.Module):
    """The loss of a model on a batch of images."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        """Sum of three losses of images (N, C, H, W) in [0, 1]."""
        prior = self.model.prior
        z = self.model.encode(x)
        clamped = prior.clamp(z)
        samples = prior.restrict(prior.sample(len(x)))
        loss = 10 * clamped_reconstruction_loss(x, clamped, self.model.decode)
        loss = loss + 10 * clamp_penalty(z, clamped)
        return loss + sliced_wasserstein(prior.restrict(z), samples)


data = genrev.load_images("digits")
images = data.tensor(range(len(data)))
net = genrev.revnet("digits")
with torch.no_grad():
    active = largest_std_dims(net.encode(images).std(dim=0), 8)
model = genrev.GenerativeModel(net, ActiveGaussian(net.latent_dim, active, bound=2.0))

# %% [markdown]
# ## The loop

# %%
loader = DataLoader(TensorDataset(images), batch_size=100, shuffle=True, drop_last=True)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
loss_of, optimizer, loader = accelerator.prepare(Loss(model), optimizer, loader)
step, first = 0, None
while step < STEPS:
    for (x,) in loader:
        loss = loss_of(x)
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(loss_of.parameters(), 5.0)
        optimizer.step()
        first, step = first or loss.item(), step + 1
        if step == STEPS:
            break
print(f"loss at the first step {first:.3f}, at the last {loss.item():.3f}")

# %% [markdown]
# ## Samples

# %%
trained = accelerator.unwrap_model(loss_of).model.cpu().eval()
sheet = sample_sheet(trained, 36, seed=0)
plt.figure(figsize=(5, 5))
plt.imshow(sheet)
plt.axis("off")
plt.show()
