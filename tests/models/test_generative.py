"""Model with prior, and its folder on disk."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import genrev
from genrev.errors import GenrevError
from genrev.models import GenerativeModel, load, save
from genrev.models.inference import is_autoencoder
from genrev.networks import RevNet, RevNetConfig
from genrev.priors import ActiveGaussian, ActiveUniform, ClassConditionalGaussian, FlowPrior

NET = RevNetConfig(image_size=4, channels=1, hidden_channels=(3,), blocks=(1,), kernel_sizes=(3,))
ACTIVE = torch.tensor([1, 5, 11])


def model(prior=None):
    return GenerativeModel(RevNet(NET), prior or ClassConditionalGaussian(3, 16, ACTIVE, 2.0))


@pytest.mark.parametrize(
    "prior",
    [
        ActiveGaussian(16, ACTIVE),
        ActiveUniform(16, ACTIVE, 1.0),
        ClassConditionalGaussian(3, 16),
        ClassConditionalGaussian(3, 16, ACTIVE, 2.0),
    ],
)
def test_a_saved_model_comes_back_equal(tmp_path, prior):
    original = model(prior)
    save(original, tmp_path / "m", {"note": 1})
    loaded = load(tmp_path / "m")
    assert is_autoencoder(loaded)
    assert loaded.config() == original.config()
    assert not loaded.training
    for name, tensor in original.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    draws = [m.sample(5, generator=torch.Generator().manual_seed(3)) for m in (original, loaded)]
    assert torch.equal(*draws)
    assert json.loads((tmp_path / "m/config.json").read_text())["info"] == {"note": 1}


def test_reconstruction_full_is_exact_and_restricted_is_of_the_clamped_encoding():
    m = model()
    x = torch.rand(3, 1, 4, 4)
    assert torch.allclose(m.reconstruct(x, restricted=False), x, atol=1e-6)
    assert torch.allclose(m.reconstruct(x), m.decode(m.prior.clamp(m.encode(x))))


def test_interpolation_ends_at_the_reconstructions_and_is_straight_in_latent_space():
    m = model()
    a, b = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    walk = m.interpolate(a, b, steps=5, restricted=False)
    assert walk.shape == (2, 5, 1, 4, 4)
    assert torch.allclose(walk[:, 0], a, atol=1e-6)
    assert torch.allclose(walk[:, -1], b, atol=1e-6)
    z = m.encode(walk.flatten(0, 1)).unflatten(0, (2, 5))
    steps = z.diff(dim=1)
    assert torch.allclose(steps, steps[:, :1].expand_as(steps), atol=1e-5)
    assert torch.allclose(m.interpolate(a, b)[:, 0], m.reconstruct(a), atol=1e-6)


def test_traversal_moves_one_dimension_by_its_standard_deviation():
    m = model()
    with torch.no_grad():
        m.prior.std.fill_(0.25)
    z = m.encode(m.traverse([5], label=1, steps=3, extent=2.0)[0])
    expected = m.prior.center(1).repeat(3, 1)
    expected[:, 5] += torch.tensor([-0.5, 0.0, 0.5])
    assert torch.allclose(z, expected, atol=1e-5)
    x = torch.rand(1, 1, 4, 4)
    assert torch.allclose(m.traverse([5], steps=3, x=x)[0, 1], m.reconstruct(x)[0], atol=1e-6)


def test_mismatches_are_refused():
    with pytest.raises(ValueError, match="16 latent dimensions, the prior 8"):
        model(ActiveGaussian(8))
    with pytest.raises(ValueError, match="2 class names for 3"):
        GenerativeModel(RevNet(NET), ClassConditionalGaussian(3, 16), ("a", "b"))
    with pytest.raises(ValueError, match="at least 2 steps"):
        model().interpolate(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), steps=1)
    with pytest.raises(ValueError, match="as many images"):
        model().interpolate(torch.zeros(1, 1, 4, 4), torch.zeros(2, 1, 4, 4))


def broken(folder, case):
    save(model(), folder)
    config, weights = folder / "config.json", folder / "model.safetensors"
    described = json.loads(config.read_text())
    if case == "no weights":
        weights.unlink()
    elif case == "no json":
        config.write_text("{")
    elif case == "other format":
        config.write_text(json.dumps({**described, "format": 99}))
    elif case == "not a model":
        config.write_text(json.dumps({"format": 2}))
    elif case == "foreign class":
        described["prior"]["kind"] = "os.system"
        config.write_text(json.dumps(described))
    elif case == "truncated":
        weights.write_bytes(weights.read_bytes()[:-20])
    elif case == "other weights":
        tensors = load_file(weights)
        tensors.pop("prior.mean")
        save_file(tensors, weights)
    elif case == "pickle":
        weights.write_bytes(pickle.dumps({"weights": 1}))


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no weights", "no model.safetensors"),
        ("no json", "is not JSON"),
        ("other format", "format 2"),
        ("not a model", "does not describe"),
        ("foreign class", "does not describe"),
        ("truncated", "does not hold the weights"),
        ("other weights", "does not hold the weights"),
        ("pickle", "does not hold the weights"),
    ],
)
def test_damaged_folders_are_told_in_a_sentence(tmp_path, case, message):
    broken(tmp_path, case)
    with pytest.raises(GenrevError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_that_may_not_be_read_are_told_as_that(tmp_path, monkeypatch):
    """safetensors says "No such file or directory" of them."""
    save(model(), tmp_path)
    read = Path.open

    def may_not(path, *rest, **named):
        if path.suffix == ".safetensors":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *rest, **named)

    monkeypatch.setattr(Path, "open", may_not)
    with pytest.raises(GenrevError, match=r"safetensors cannot be read \(Permission denied\)"):
        load(tmp_path)


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(GenrevError, match=r"no run or model 'nothing'"):
        genrev.load("nothing")


def test_a_misspelt_name_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(GenrevError, match=r"did you mean mnist\?"):
        genrev.load("mnits")
    save(model(), tmp_path / "faces")
    with pytest.raises(GenrevError, match=r"did you mean .*/faces\?"):
        genrev.load(tmp_path / "faecs")


def test_a_save_that_fails_leaves_the_old_model(tmp_path, monkeypatch):
    original = model()
    save(original, tmp_path)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("genrev.models.saving.save_file", fail)
    with pytest.raises(GenrevError, match="disk full"):
        save(model(), tmp_path)
    monkeypatch.undo()
    loaded = load(tmp_path)
    assert torch.equal(loaded.prior.mean, original.prior.mean)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_images_have_a_density_in_a_class_and_over_all():
    names = ("ape", "bee", "cat")
    prior = ClassConditionalGaussian(3, 64)
    torch.nn.init.normal_(prior.mean, generator=torch.Generator().manual_seed(0))
    m = GenerativeModel(genrev.revnet("digits"), prior, names).eval()
    x = torch.rand(3, 1, 8, 8)
    with torch.no_grad():  # additive couplings preserve volume
        normal = torch.distributions.Normal(prior.mean, prior.std)
        each = normal.log_prob(m.encode(x)[:, None]).sum(2)  # (images, classes)
        torch.testing.assert_close(m.log_prob(x, "bee"), each[:, 1])
        torch.testing.assert_close(m.log_prob(x, ["cat", 0, 1]), each[range(3), [2, 0, 1]])
        torch.testing.assert_close(m.log_prob(x), each.logsumexp(1) - torch.tensor(3.0).log())
    with pytest.raises(GenrevError, match="knows the classes ape, bee, cat"):
        m.log_prob(x, "dog")


def test_images_have_a_density_under_a_flow():
    prior = FlowPrior(1, 64, layers=2, hidden=8)
    last = prior.couplings[0].net[-1]
    torch.nn.init.normal_(last.bias, generator=torch.Generator().manual_seed(0))
    m = GenerativeModel(genrev.revnet("digits"), prior).eval()
    x = torch.rand(1, 1, 8, 8)
    jacobian = torch.autograd.functional.jacobian(
        lambda image: prior.distribution().transform(m.encode(image)), x
    )
    normal = prior.distribution().transform(m.encode(x))
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(normal).sum(1)
    expected = expected + jacobian.reshape(64, 64).slogdet()[1]
    torch.testing.assert_close(m.log_prob(x), expected, atol=1e-2, rtol=1e-4)
