"""The objective of `mnist-released`, written out from the authors' notebook.

Their loop adds the gradients of ``15 * reconstruction + transport`` of all classes before one step:
the weight counts once per class.
"""

import pytest
import torch
from run_files import step_of
from scipy.optimize import linear_sum_assignment

from genrev.recipes import load_recipe
from genrev.seeding import noise_generator
from genrev.training import Batch

PER_CLASS = 15  # in the notebook
CLASSES, EACH = 10, 13


def notebook_loss(model, images, samples, noise):
    """Images (classes, n, C, H, W), samples of the Gaussians and perturbations (classes, n, D)."""
    total = 0
    for x, gaussian, perturbation in zip(images, samples, noise, strict=True):
        outputs = model.encode(x)
        inputs = model.decode(outputs)  # the notebook inverts once more where genrev has the image
        diffs = inputs - model.decode(outputs + perturbation)
        reconstruction = (diffs * diffs).mean() + diffs.abs().mean()
        costs = (outputs.unsqueeze(1) - gaussian.unsqueeze(0)).square().sum(2).clamp(min=1e-6)
        costs = costs.sqrt()
        rows, columns = linear_sum_assignment(costs.detach().numpy())
        transport = costs[rows, columns].mean()
        total = total + PER_CLASS * reconstruction + transport
    return total


def gradients(loss, model):
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("recipe", ["mnist-released", "mnist-paper", "digits-released"])
def test_loss_and_gradient_are_those_of_the_notebook(recipe):
    config = load_recipe(recipe, {"data": "digits", "network": "digits", "seed": 3})
    step = step_of(config)
    model, data = step.model, step.data
    with torch.no_grad():  # zero biases put black pixels on the kinks of the ReLUs
        for parameter in model.net.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))

    positions = [(data.labels == label).nonzero()[0][:EACH] for label in range(CLASSES)]
    images = torch.stack([torch.from_numpy(data.images[p]) for p in positions]).float() / 255
    number = 5
    labels = torch.arange(CLASSES).repeat_interleave(EACH)
    phase = step.phase(number).name
    _, ours, parts = step.losses(Batch(images.flatten(0, 1), labels, number, phase))
    assert parts.keys() == {"loss", "perturbation", "transport"}
    gradient = gradients(ours, model)

    samples = model.prior.rsample(len(labels), labels, noise_generator(3, number, "prior"))
    noise = torch.randn(len(labels), 64, generator=noise_generator(3, number, "perturbation"))
    noise = noise * config.method.options.perturbation_std
    theirs = notebook_loss(
        model,
        images,
        samples.unflatten(0, (CLASSES, EACH)),
        noise.unflatten(0, (CLASSES, EACH)),
    )
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    expected = gradients(theirs, model)
    assert len(gradient) == len(expected)
    assert (gradient - expected).norm() <= 1e-5 * expected.norm()
