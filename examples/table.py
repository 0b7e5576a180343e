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
# # A table of 20 columns
#
# Rows of a table are vectors. One network learns their density by maximum likelihood, another has
# its encodings transported to the prior, and one column can be given: rows are then drawn that go
# with its value.

# %%
import matplotlib.pyplot as plt
import torch

import genrev
from genrev.objectives import sliced_wasserstein

COLUMNS, GIVEN = 20, 0  # the column that rows are drawn for
STEPS = {"likelihood": 150, "transport": 200, "conditional": 150}  # more come nearer to the table

torch.manual_seed(0)
torch.set_num_threads(1)  # networks this small gain nothing from more

# %% [markdown]
# ## The data
#
# A table with known structure: every column is a wave of the first three, as far as they stand
# before it, plus normal noise whose width depends on them as well. So the density of a row is a
# product that can be written down, and rows with any value in the first column can be drawn.

# %%
weights = torch.randn(2, COLUMNS, 3).tril(-1)


def law(before, column):
    """Mean and standard deviation (N,) of a column, given those before it, (N, column)."""
    known = before[:, :3]
    wave, width = (known @ one[column, : known.shape[1]] for one in weights)
    return 1.5 * torch.sin(wave), 0.3 + 0.6 * torch.sigmoid(width)


def rows(n, given=None):
    """New rows (n, 20), the first column drawn too or as it is given."""
    x = torch.empty(n, COLUMNS)
    for column in range(COLUMNS):
        mean, std = law(x[:, :column], column) if column else (torch.zeros(n), torch.ones(n))
        x[:, column] = mean + std * torch.randn(n)
        if column == GIVEN and given is not None:
            x[:, column] = given
    return x


def true_log_prob(x):
    """Log-density (N,) of rows, in nats."""
    normal = torch.distributions.Normal
    first = normal(0.0, 1.0).log_prob(x[:, 0])
    later = [normal(*law(x[:, :c], c)).log_prob(x[:, c]) for c in range(1, COLUMNS)]
    return first + torch.stack(later).sum(0)


table, held_out = rows(20_000), rows(2000)

# %% [markdown]
# ## Three networks
#
# - **By likelihood**: the log-density of rows is made large.
# - **By transport**: no density is asked for. Optimal transport, on lines in random directions,
#   from the encodings of a batch to samples of the prior is made small. What the prior draws
#   then decodes to rows, since decoding is the inverse. The couplings are additive: nothing in the
#   loss keeps affine ones from stretching without bounds where there are few rows.
# - **Conditioned on a column**: by likelihood again, of the other 19 columns, and every f and g is
#   told the first one as its context.

# %%
shape = genrev.VectorFlowConfig(features=COLUMNS, couplings=4, hidden=64)
engine = genrev.Engine(memory="stored")  # with activations as few as here the faster one
given_one = shape.replace(features=COLUMNS - 1, context=1)
flows = {
    "likelihood": genrev.VectorFlow(shape, engine=engine),
    "transport": genrev.VectorFlow(shape.replace(coupling="additive"), engine=engine),
    "conditional": genrev.VectorFlow(given_one, engine=engine),
}
losses = {
    "likelihood": lambda flow, x: -flow.log_prob(x).mean(),
    "transport": lambda flow, x: sliced_wasserstein(flow.encode(x), torch.randn(x.shape)),
    "conditional": lambda flow, x: -flow.log_prob(x[:, 1:], x[:, :1]).mean(),
}


def train(flow, loss, steps):
    """Adam, with a rate that falls to zero."""
    flow.initialise_(table[:, -flow.config.features :])
    optimizer = torch.optim.Adam(flow.parameters(), lr=4e-3, fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1, (1 - step / steps) / 0.7)
        optimizer.zero_grad()
        loss(flow, table[torch.randint(len(table), (256,))]).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()


for name, flow in flows.items():
    train(flow, losses[name], STEPS[name])

# %% [markdown]
# ## Likelihood
#
# Of rows that no network has seen, beside the true density and the best normal distribution. The
# network that was transported is a bijection like the others, so it has a density as well.

# %%
normal = torch.distributions.MultivariateNormal(table.mean(0), table.T.cov())
first = torch.distributions.Normal(table[:, 0].mean(), table[:, 0].std())
with torch.no_grad():
    of_others = flows["conditional"].log_prob(held_out[:, 1:], held_out[:, :1])
    densities = {
        "truth": true_log_prob(held_out),
        "normal": normal.log_prob(held_out),
        "likelihood": flows["likelihood"].log_prob(held_out),
        "transport": flows["transport"].log_prob(held_out),
        "conditional": first.log_prob(held_out[:, 0]) + of_others,
    }
for name, values in densities.items():
    print(f"{name:12}{values.mean():8.2f} nats")

# %% [markdown]
# ## Samples
#
# Their sliced Wasserstein distance to rows that no network has seen; that of further rows of the
# table is what chance makes of it. Transport stays behind likelihood with as few steps as here.

# %%
directions = torch.nn.functional.normalize(torch.randn(500, COLUMNS), dim=1)
samples = {"table": rows(2000), "normal": normal.sample((2000,))}
samples |= {name: flows[name].sample(2000) for name in ("likelihood", "transport")}
for name, drawn in samples.items():
    distance = sliced_wasserstein(drawn, held_out, directions).sqrt()
    print(f"distance of {name:12}{distance:.3f}")

# %% [markdown]
# ## Rows for a value
#
# The column that depends on the first one most is drawn for three values of it, and compared with
# rows of the true table that have this value.

# %%
column = int(weights[0, :, 0].abs().argmax())
for value in (-1.0, 0.0, 1.0):
    drawn = flows["conditional"].sample(4000, torch.tensor([value]))[:, column - 1]
    true = rows(4000, value)[:, column]
    print(
        f"column {column} given {value:4.1f}: mean {drawn.mean():.2f}, "
        f"deviation {drawn.std():.2f}; "
        f"truth {true.mean():.2f} and {true.std():.2f}"
    )

figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True, layout="constrained")
values = torch.randn(2000, 1)
drawn = flows["conditional"].sample(2000, values)[:, column - 1]
axes[0].scatter(held_out[:, GIVEN], held_out[:, column], s=2)
axes[1].scatter(values, drawn, s=2, color="C1")
axes[0].set(title="the table", xlabel="column 0", ylabel=f"column {column}")
axes[1].set(title=f"column {column} drawn for given values", xlabel="column 0")
plt.show()

# %% [markdown]
# The context can be several columns, or classes. Whatever is a distribution in torch or zuko can be
# the prior: `genrev.VectorFlow(shape, prior)`.
