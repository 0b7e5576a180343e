"""Training of networks that are told the class: which methods, on which data, to what prior."""

import copy

import pytest
import torch
from run_files import changed, config_of, metrics, parts_of, step_of, write_images
from torch.nn import functional

from genrev.errors import GenrevError
from genrev.evaluation import classification_report, reconstruction_report
from genrev.models import load
from genrev.training import METHODS, Batch, Noise, resume, train
from genrev.training.ex_post import fit_prior

TOLD = {"context": 10}
MIXTURE = {"kind": "mixture", "active_dims": 4, "components": 2, "bound": 2.0}
RUNS = {
    "mixture": {"prior": MIXTURE, "method": {"name": "matching", "criterion": "none"}},
    "shared": {
        "prior": {"kind": "gaussian", "active_dims": 4},
        "method": {"name": "matching", "criterion": "sliced"},
    },
    "transport": {
        "prior": {"kind": "class-gaussian", "active_dims": 4, "bound": 2.0},
        "method": {
            "name": "transport", "reconstruction_weight": 10.0, "perturbation_weight": 1.0,
            "transport_start": 0.5,
        },
    },
    "likelihood": {
        "network": {"scaling": True, "coupling": "affine", **TOLD},
        "prior": {"kind": "logistic"},
        "method": "likelihood",
    },
}  # fmt: skip


def config_for(name, **sections):
    small = {"network": TOLD, "batch_size": 40, "trainer": {"max_steps": 4, "log_every": 1}}
    return changed(changed(config_of(**RUNS[name]), **small), **sections)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_tells_its_network_the_classes(name, tmp_path):
    config = config_for(name, trainer={"checkpoint_every": 2})
    model = train(config, tmp_path / "run")
    assert model.class_names == tuple("0123456789")
    assert model.net.context == model.num_classes == 10
    assert model.prior.num_classes == (10 if name in ("mixture", "transport") else 1)
    loaded = load(tmp_path / "run")
    assert torch.equal(*(m.sample(3, 7, torch.Generator().manual_seed(0)) for m in (model, loaded)))
    step = step_of(config)
    images, labels = step.data.tensor(range(40)), torch.arange(40) % 10
    told = step(images, labels)
    again = step_of(config)(images, labels.flip(0))
    assert told["loss"] != again["loss"]
    grads = [p.grad for n, p in step.model.net.named_parameters() if n.endswith("context.weight")]
    assert all(grad.abs().amax(0).min() > 0 for grad in grads)  # in every class


@pytest.mark.parametrize("name", ["mixture", "likelihood"])
def test_it_is_resumed_bit_for_bit(name, tmp_path):
    from run_files import assert_same_weights, cut_short, weights

    config = config_for(name, trainer={"checkpoint_every": 2})
    train(config, tmp_path / "whole")
    cut_short(tmp_path / "whole", tmp_path / "cut", checkpoint=2)
    resume(config, tmp_path / "cut")
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


@torch.no_grad()
def test_losses_by_hand():
    data, model, method = parts_of(config_for("mixture"))
    x, labels = data.tensor(range(20)), torch.from_numpy(data.labels[:20].copy())
    found = method.losses(model, Batch(x, labels, phase="reconstruction"), Noise())
    onehot = functional.one_hot(labels, 10).float()
    z = model.encode(x, onehot)
    clamped = model.prior.clamp(z)
    expected = {
        "clamp": (z - clamped).square().mean(),
        "reconstruction": (model.decode(clamped, onehot) - x).abs().mean(),
    }
    torch.testing.assert_close(found, expected)


def test_each_class_gets_a_mixture_fitted_to_its_own_encodings(tmp_path):
    data, model, method = parts_of(config_for("mixture"))
    method.finish(model, data, seed=0)
    labels = torch.from_numpy(data.labels.copy())
    with torch.no_grad():
        active = model.prior.restrict(model.encode(data.tensor(range(len(data))), labels))
    for label in range(10):
        own = active[labels == label]
        mean, std = model.prior.moments(label)
        torch.testing.assert_close(mean, own.mean(0), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(std, own.std(0, correction=0), rtol=2e-2, atol=1e-3)


def test_a_shared_prior_is_fitted_to_all_encodings():
    data, model, _ = parts_of(config_for("shared"))
    fit_prior(model, data, components=3)
    assert model.prior.num_classes == 1
    assert model.num_classes == 10
    assert model.sample(3, label=2).shape == (3, 1, 8, 8)


def test_evaluation_tells_the_classes_of_the_images():
    data, model, _ = parts_of(config_for("mixture"))
    model.eval()
    report = reconstruction_report(model, data)
    assert report["full"]["l1"] < 1e-6
    labels = torch.from_numpy(data.labels.copy())
    x = data.tensor(range(len(data)))
    error = (model.reconstruct(x, context=labels).clamp(0, 1) - x).abs().mean()
    assert report["restricted"]["l1"] == pytest.approx(float(error), rel=1e-5)
    assert 0 <= classification_report(model, data)["classification_accuracy"] <= 1


def test_gradients_of_a_step_do_not_depend_on_the_memory():
    found = []
    for memory in ("stored", "reversible"):
        data, model, method = parts_of(config_for("likelihood", engine={"memory": memory}))
        model = copy.deepcopy(model).double()
        labels = torch.from_numpy(data.labels[:20].copy())
        batch = Batch(data.tensor(range(20)), labels)
        method.losses(model, batch, Noise())["bits_per_dim"].backward()
        found.append([p.grad for p in model.net.parameters()])
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() <= 1e-9 * theirs.norm()


def test_methods_that_tell_no_classes_refuse():
    able = [name for name in METHODS.names() if METHODS[name].conditional]
    assert able[:3] == ["transport", "matching", "likelihood"]
    config = config_of(network=TOLD, method="flow-gan", prior="logistic")
    with pytest.raises(GenrevError, match=r"flow-gan tells a network no classes; leave --network"):
        parts_of(config)


def test_the_data_must_have_as_many_classes(tmp_path):
    with pytest.raises(GenrevError, match=r"--network.context 3 .* has 10 classes; set it to 10\."):
        parts_of(config_for("mixture", network={"context": 3}))
    plain = {"data": {"source": write_images(tmp_path / "images", 40)}}
    with pytest.raises(GenrevError, match=r"--network.context 10 .* no labels; .* set it to 0\."):
        parts_of(config_for("shared", **plain))


def test_a_class_with_too_few_images_is_told_at_the_start():
    with pytest.raises(GenrevError, match=r"need 200 images of every class and digits has 145"):
        parts_of(config_for("mixture", prior={"components": 40}))
