"""Every method: its losses need no trainer, and what a run logs follows from them."""

import copy

import pytest
import torch
from run_files import (
    assert_same_weights,
    changed,
    config_of,
    cut_short,
    metrics,
    parts_of,
    step_of,
    weights,
)
from scipy.optimize import linear_sum_assignment

from genrev.data import BatchLoader
from genrev.errors import GenrevError
from genrev.models import GenerativeModel
from genrev.networks import revnet
from genrev.priors import ActiveGaussian
from genrev.reversible import Engine
from genrev.reversible.stream import Deferred
from genrev.seeding import noise_generator
from genrev.training import METHODS, Batch, Method, Noise, OptimizerOptions, Step, resume, train
from genrev.training.steps.finite import require_exact

ENCODER = {
    "kind": "conv-autoencoder",
    "image_size": 8,
    "channels": 1,
    "latent_dim": 4,
    "encoder_channels": [6, 8],
    "decoder_channels": [10, 8, 6],
    "kernel_size": 3,
}
SMALL = {
    "transport": {
        "prior": {"active_dims": 6, "bound": 2.0},
        "method": {
            "name": "transport",
            "reconstruction_weight": 10.0,
            "clamp_weight": 5.0,
            "perturbation_weight": 7.0,
            "transport_weight": 2.0,
            "transport_memory": 2,
            "transport_start": 0.3,
        },
        "optimizer": {"schedule": "linear"},
    },
    "matching": {
        "prior": {"kind": "uniform", "active_dims": 6},
        "method": {
            "name": "matching",
            "reconstruction_steps": 2,
            "reconstruction_clamp_weight": 3.0,
            "discriminator_hidden": [6, 8],
        },
        "optimizer": {"betas": [0.0, 0.9]},
    },
    "baseline": {
        "network": ENCODER,
        "method": {
            "name": "baseline",
            "variant": "wae-gan",
            "latent_weight": 3.0,
            "discriminator_hidden": 8,
        },
        "optimizer": {"clip": 1.0},
    },
    "likelihood": {
        "network": {"scaling": True},
        "prior": "logistic",
        "method": "likelihood",
        "optimizer": {"clip": 1.0},
    },
    "flow-gan": {
        "network": {"scaling": True},
        "method": {"name": "flow-gan", "bits_per_dim_weight": 0.5, "discriminator_width": 4},
    },
    "semi": {
        "prior": {"active_dims": 6},
        "method": {"name": "semi", "labels_per_class": 3, "transport_start": 0.4},
    },
    "age": {
        "network": ENCODER,
        "method": {"name": "age", "reconstruction_weight": 5.0, "generator_steps": 2},
    },
    "bigan": {
        "network": ENCODER,
        "method": {
            "name": "bigan",
            "stochastic": True,
            "reconstruction_weight": 2.0,
            "discriminator_width": 4,
            "discriminator_hidden": 8,
        },
        "optimizer": {"clip": 1.0},
    },
}
# Weights of the losses, written out; those of the first phase where they are others.
WEIGHTS = {
    "transport": {"reconstruction": 10, "clamp": 5, "perturbation": 7, "transport": 2},
    "matching": {"reconstruction": 10, "clamp": 10, "matching": 1},
    "baseline": {"reconstruction": 4, "latent": 3},
    "likelihood": {"bits_per_dim": 1},
    "flow-gan": {"adversary": 1, "bits_per_dim": 0.5},
    "semi": {
        "reconstruction": 10, "clamp": 10, "labelled": 0.1, "mixture": 1, "posterior": 1,
    },
    "age": {"divergence": 1, "latent": 8},
    "bigan": {"adversary": 1, "reconstruction": 2},
}  # fmt: skip
FIRST = {"matching": {"reconstruction": 10, "clamp": 3}}
STEPS = 6


def config_for(method, **sections):
    config = config_of(
        batch_size=40,
        engine={"drift_every": None},
        trainer={
            "max_steps": STEPS,
            "log_every": 1,
            "sample_every": 100,
            "checkpoint_every": 3,
        },
        **SMALL[method],
    )
    return changed(config, **sections)


def batches(config, data, method):
    """Images in [0, 1] and labels of every step of a run."""
    steps, seed = config.trainer.max_steps, config.seed
    loader = BatchLoader(data, config.batch_size, steps, seed, balanced=method.balanced)
    for number in range(steps):
        batch = loader.batch(number)
        yield batch["image"].float() / 255, batch["label"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder of a whole run of every method, which is trained when it is asked for."""
    folder = tmp_path_factory.mktemp("methods")

    def run(method):
        if not (folder / method).exists():
            train(config_for(method), folder / method)
        return folder / method

    return run


def test_all_methods_are_here():
    assert list(SMALL) == METHODS.names()[: len(SMALL)]  # then plugins of other tests


@pytest.mark.parametrize("name", SMALL)
def test_losses_need_no_trainer_and_are_what_a_run_logs(runs, name):
    """The first batch of the untrained model, of whose losses only the method knows."""
    data, model, method = parts_of(config_for(name))
    config = config_for(name)
    images, labels = next(batches(config, data, method))
    phase = method.phases(STEPS)[0].name
    batch, noise = Batch(images, labels, step=0, phase=phase), Noise(config.seed, 0)
    row = metrics(runs(name))[0]
    if name in ("flow-gan", "age"):  # the first step is the discriminator's
        found = {"discriminator": method.discriminator_loss(model, batch, noise).detach()}
    else:
        found = {k: v.detach() for k, v in method.losses(model, batch, noise).items()}
        names = FIRST.get(name, WEIGHTS[name])
        loss = sum(names[part] * found[part].item() for part in names if part in found)
        assert float(row["loss"]) == pytest.approx(loss, rel=1e-5)
    for part, value in found.items():
        assert value.ndim == 0
        assert float(row[part]) == pytest.approx(value.item(), rel=1e-6), part


def transport_by_hand(z, samples):
    costs = torch.cdist(z, samples, compute_mode="donot_use_mm_for_euclid_dist")
    return costs[linear_sum_assignment(costs.numpy())].mean()


def debiased_by_hand(z, samples):
    (a, b), (c, d) = z.chunk(2), samples.chunk(2)
    across = sum(transport_by_hand(*pair) for pair in ((a, c), (a, d), (b, c), (b, d)))
    return across / 4 - (transport_by_hand(a, b) + transport_by_hand(c, d)) / 2


def restricted(model, z, bound):
    """Active dimensions, and what is left of encodings with nothing but these, cut."""
    active, clamped = z[:, model.prior.active_dims], torch.zeros_like(z)
    clamped[:, model.prior.active_dims] = active.clamp(-bound, bound)
    return active, clamped


@torch.no_grad()
def test_losses_of_matching_by_hand():
    data, model, method = parts_of(config_for("matching"))
    x = data.tensor(range(40))
    batch, noise = Batch(x, torch.zeros(40).long(), 4, "matching"), Noise(0, 4)
    z = model.encode(x)
    active, clamped = restricted(model, z, 2.0)
    samples = 4 * torch.rand(40, 6, generator=noise_generator(0, 4, "prior")) - 2
    judge = copy.deepcopy(method.discriminator)
    scores = judge(torch.cat((samples, active)))  # in training: one power iteration
    hinge = (1 - scores[:40]).relu().mean() + (1 + scores[40:]).relu().mean()
    torch.testing.assert_close(method.discriminator_loss(model, batch, noise), hinge)
    found = method.losses(model, batch, noise)
    expected = {
        "reconstruction": (model.decode(clamped) - x).abs().mean(),
        "clamp": ((z - clamped) ** 2).mean(),
        "matching": -judge.eval()(active).mean(),
    }
    torch.testing.assert_close(found, {name: expected[name] for name in found})
    assert found.keys() == expected.keys()


@torch.no_grad()
def test_losses_of_few_labels_by_hand():
    data, model, method = parts_of(config_for("semi", prior={"bound": 2.0}))
    x, prior = data.tensor(range(40)), model.prior
    batch = Batch(x, torch.full((40,), -1), 4, "transport")  # no label is looked at
    found = method.losses(model, batch, Noise(0, 4))
    z = model.encode(x)
    active, clamped = restricted(model, z, 2.0)
    known, _ = restricted(model, model.encode(method.labelled.images), 2.0)
    labels = method.labelled.labels
    gaussians = torch.distributions.Normal(prior.mean, prior.std.clamp(min=0.1))
    densities = gaussians.log_prob(known[:, None]).sum(2)  # (images, classes)
    chances = densities.log_softmax(1)[torch.arange(len(labels)), labels]

    def drawn(stream, labels):
        normal = torch.randn(len(labels), 6, generator=noise_generator(0, 4, stream))
        return prior.mean[labels] + prior.std[labels] * normal

    near = drawn("labelled", labels)
    by_class = [transport_by_hand(known[labels == c], near[labels == c]) for c in range(10)]
    expected = {
        "reconstruction": (model.decode(clamped) - x).abs().mean(),
        "clamp": ((z - clamped) ** 2).mean(),
        "labelled": sum(by_class),
        "posterior": -chances.mean(),
        "mixture": debiased_by_hand(active, drawn("prior", torch.arange(40) % 10)),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("name", SMALL)
def test_a_loop_of_ones_own_trains_the_model_of_the_run_bit_for_bit(runs, name):
    config = config_for(name)
    step, rows = step_of(config), metrics(runs(name))
    for number, (images, labels) in enumerate(batches(config, step.data, step.method)):
        step.begin(number)  # a phase may begin with other widths
        widths = step.method.report(step.model)
        found = step(images, labels, number)
        assert all(float(rows[number][name]) == float(value) for name, value in widths.items())
        for part, value in found.items():
            assert float(rows[number][part]) == value.item(), (number, part)
            assert not value.requires_grad
        if "loss" in found:
            first = number < 2 and name in FIRST
            names = FIRST[name] if first else WEIGHTS[name]
            loss = sum(names[part] * found[part].item() for part in names if part in found)
            assert float(found["loss"]) == pytest.approx(loss, rel=1e-5)
            assert found.keys() - {"loss", "discriminator"} <= names.keys()
    assert_same_weights(dict(step.model.state_dict()), weights(runs(name)))


@pytest.mark.parametrize("name", SMALL)
def test_a_resumed_run_is_the_same_bit_for_bit_with_an_average(tmp_path, name):
    """With memory, adversary, phases and labelled images, whatever the method has."""
    config = config_for(name, optimizer={"ema": 0.8})
    train(config, tmp_path / "whole")
    cut_short(tmp_path / "whole", tmp_path / "cut", checkpoint=3)
    resume(config, tmp_path / "cut")
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


@pytest.mark.gpu
@pytest.mark.filterwarnings("error:Steps run without CUDA graphs")
@pytest.mark.parametrize("name", ["matching", "flow-gan"])
def test_a_run_of_graphs_is_resumed_bit_for_bit_on_cuda(tmp_path, name):
    trainer = {"accelerator": "gpu", "max_steps": 24, "checkpoint_every": 9}
    config = config_for(name, optimizer={"ema": 0.8}, trainer=trainer)
    train(config, tmp_path / "whole")
    cut_short(tmp_path / "whole", tmp_path / "cut", checkpoint=9)
    resume(config, tmp_path / "cut")
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_a_step_that_needs_the_images_says_so():
    config = config_for("transport")
    _, model, method = parts_of(config)
    step = Step(model, method, config.optimizer, max_steps=STEPS)
    step(torch.rand(40, 1, 8, 8), torch.arange(40) % 10, number=0)
    with pytest.raises(GenrevError, match="phase transport needs data"):
        step(torch.rand(40, 1, 8, 8), torch.arange(40) % 10, number=2)


def test_the_memory_of_past_batches_is_resumed(runs, tmp_path):
    """From a checkpoint without it, the run ends otherwise."""
    cut = cut_short(runs("transport"), tmp_path / "cut", checkpoint=3)
    file = cut / "checkpoints/step3.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    assert checkpoint["method"]["past"].shape == (10, 4, 6)  # of the one step of transport so far
    checkpoint["method"]["past"] = None
    torch.save(checkpoint, file)
    resume(config_for("transport"), cut)
    name = "net.blocks.blocks.1.f.0.weight"
    assert not torch.equal(weights(cut)[name], weights(runs("transport"))[name])


class Probe(Method):
    """A loss that keeps to float32 whatever the run's precision is."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(64, 64, generator=generator))

    def trained_along(self):
        return [{"params": [self.weight], "lr": 1e-3}]

    def losses(self, model, batch, noise):
        with torch.autocast("cpu", enabled=False):
            return {"probe": (batch.images.flatten(1) @ self.weight).square().mean()}


def test_gradients_of_what_is_kept_in_float32_are_in_float32():
    x = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    gradients = []
    for enabled in (False, True):
        model = GenerativeModel(revnet("digits"), ActiveGaussian(64))
        step = Step(model, Probe(), OptimizerOptions())
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            step(x)
        gradients.append(step.method.weight.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("name", SMALL)
def test_each_step_updates_the_weights_once(name):
    """Adam takes its step where losses are computed, and not again where a trainer counts it."""
    config = config_for(name)
    step = step_of(config)
    for number, (images, labels) in enumerate(batches(config, step.data, step.method)):
        step(images, labels, number)
    counted = [int(state["step"]) for o in step.optimizers for state in o.state.values()]
    trained = [step.trains_model(number) for number in range(STEPS)]
    turns = {trained.count(True), trained.count(False)}
    restarted = {STEPS - phase.start for phase in step.phases if phase.restart}
    assert counted
    assert max(counted) <= max(turns | restarted)


def counting(method="likelihood", **options):
    model = GenerativeModel(revnet("digits"), ActiveGaussian(64))
    return Step(model, METHODS[method](), OptimizerOptions(**options), max_steps=3)


def test_steps_that_have_no_number_follow_each_other():
    batches = [torch.rand(4, 1, 8, 8) for _ in range(5)]
    torch.manual_seed(0)
    counted = counting(schedule="linear")
    torch.manual_seed(0)
    numbered = counting(schedule="linear")
    for number, batch in enumerate(batches):  # two more than were planned
        assert torch.equal(counted(batch)["loss"], numbered(batch, number=number)["loss"])
    assert_same_weights(counted.model.state_dict(), numbered.model.state_dict())


@pytest.mark.parametrize("schedule", ["constant", "linear", "steps", "cosine"])
def test_beyond_the_end_a_schedule_keeps_its_last_rate(schedule):
    step = counting(schedule=schedule)
    assert step.rate(3) == step.rate(30) <= step.rate(2)


def test_labels_that_are_not_balanced_are_refused_where_they_have_to_be():
    _, model, method = parts_of(config_for("transport"))
    step = Step(model, method, OptimizerOptions(), max_steps=STEPS)
    for labels in (None, torch.tensor([0, 0, 0, 1]).repeat(10)):
        with pytest.raises(GenrevError, match="as many images of every class in each batch"):
            step(torch.rand(40, 1, 8, 8), labels)


def test_an_exact_chain_that_overflows_stops_all_ranks():
    inside, outside = (Deferred(torch.tensor([1, n]), torch.float32) for n in (2, 2**30))
    require_exact([inside, inside])
    with pytest.raises(GenrevError, match="magnitudes below"):
        require_exact([inside, outside])
    with pytest.raises(GenrevError, match="on another process"):
        require_exact([inside], anywhere=lambda here: True)
    asked = []
    with pytest.raises(GenrevError):
        require_exact([outside], anywhere=lambda here: asked.append(here) or here)
    assert asked == [True]


def test_an_exact_chain_that_overflows_changes_no_weight():
    model = GenerativeModel(revnet("digits", Engine(exact=True)), ActiveGaussian(64))
    step = Step(model, METHODS["likelihood"](), OptimizerOptions())
    with torch.no_grad():
        next(model.net.parameters()).fill_(1e6)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(GenrevError, match="exact=True holds magnitudes"):
        step(torch.rand(4, 1, 8, 8))
    assert_same_weights(model.state_dict(), before)


def test_parts_of_a_step_are_what_they_should_be():
    model, method = GenerativeModel(revnet("digits"), ActiveGaussian(64)), METHODS["likelihood"]()
    right = [model, method, OptimizerOptions()]
    for place, wrong in enumerate((model.net, "likelihood", {"lr": 1e-3})):
        parts = [*right[:place], wrong, *right[place + 1 :]]
        with pytest.raises(TypeError, match=r"Step takes a GenerativeModel, a Method .* and got"):
            Step(*parts)
    step = Step(*right)
    with pytest.raises(TypeError, match="must be a torch tensor"):
        step([1, 2])
    with pytest.raises(ValueError, match=r"must be of shape \(N, 1, 8, 8\)"):
        step(torch.rand(3, 8, 8))
    with pytest.raises(TypeError, match="labels must be a tensor"):
        step(torch.rand(3, 1, 8, 8), 1)


def test_losses_that_are_no_dictionary_are_told():
    class Bare(METHODS["likelihood"]):
        def losses(self, model, batch, noise):
            return model.encode(batch.images).square().mean()

    model = GenerativeModel(revnet("digits"), ActiveGaussian(64))
    with pytest.raises(GenrevError, match=r"Bare\.losses gave a Tensor; give a dictionary"):
        Step(model, Bare(), OptimizerOptions())(torch.rand(4, 1, 8, 8))
