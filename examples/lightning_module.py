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
# # Within a LightningModule
#
# A network, a prior and objectives of genrev in a `LightningModule` of your own: Lightning has
# the loop, the devices and the precision, and genrev is nothing but modules and functions.

# %%
import lightning.pytorch as pl
import matplotlib.pyplot as plt
import torch
from torch.utils.data import DataLoader, TensorDataset

import genrev
from genrev.figures import sample_sheet
from genrev.objectives import clamp_penalty, clamped_reconstruction_loss, sliced_wasserstein
from genrev.priors import ActiveGaussian, largest_std_dims

STEPS = 150  # 3,000 give clean digits

pl.seed_everything(0, verbose=False)

# %% [markdown]
# ## The module
#
# The prior has to know which latent dimensions are active, so the module looks at some images
# when it is made.


# %%
class Reversible(pl.LightningModule):
    """A RevNet whose active dimensions are drawn to a standard normal."""

    def __init__(self, images, lr=2e-3):
        super().__init__()
        net = genrev.revnet("digits")
        with torch.no_grad():
            active = largest_std_dims(net.encode(images).std(dim=0), 8)
        prior = ActiveGaussian(net.latent_dim, active, bound=2.0)
        self.model = genrev.GenerativeModel(net, prior)
        self.lr = lr
        self.first = self.last = None

    def training_step(self, batch, number):
        """Three losses of a batch of images (N, C, H, W) in [0, 1]."""
        (x,) = batch
        prior = self.model.prior
        z = self.model.encode(x)
        clamped = prior.clamp(z)
        samples = prior.restrict(prior.sample(len(x)))
        loss = 10 * clamped_reconstruction_loss(x, clamped, self.model.decode)
        loss = loss + 10 * clamp_penalty(z, clamped)
        loss = loss + sliced_wasserstein(prior.restrict(z), samples)
        self.last = float(loss.detach())
        self.first = self.first or self.last
        return loss

    def configure_optimizers(self):
        """Adam."""
        return torch.optim.Adam(self.parameters(), self.lr)


# %% [markdown]
# ## Train
#
# With a loader of your own. `accelerator="auto"` takes the GPU that is there.

# %%
data = genrev.load_images("digits")
images = data.tensor(range(len(data)))
module = Reversible(images)
loader = DataLoader(TensorDataset(images), batch_size=100, shuffle=True, drop_last=True)
trainer = pl.Trainer(
    max_steps=STEPS,
    accelerator="cpu",
    gradient_clip_val=5.0,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(module, loader)
print(f"loss at the first step {module.first:.3f}, at the last {module.last:.3f}")

# %% [markdown]
# ## Samples

# %%
sheet = sample_sheet(module.model.eval(), 36, seed=0)
plt.figure(figsize=(5, 5))
plt.imshow(sheet)
plt.axis("off")
plt.show()

# %% [markdown]
# `genrev.training.TrainingModule` is the module that `genrev train` uses itself. It adds phases,
# noise that does not depend on the number of processes, and turns of an adversary.
