"""Priors and networks of somebody else's: saved and loaded where they are registered."""

import json

import pytest
import torch
from torch import nn

from genrev.errors import GenrevError
from genrev.models import GenerativeModel, load, save
from genrev.networks import NETWORKS, Network, revnet
from genrev.options import Count, Options
from genrev.priors import PRIORS, ActiveGaussian, Prior


class Laplace(Prior):
    """Laplace distribution of a learned width."""

    class Options(Prior.Options):
        """Options of it."""

        width: float = 1.0
        """Width at the start."""

    def __init__(self, dim, active_dims=None, bound=None, width=1.0):
        super().__init__(dim, active_dims, bound)
        self.start_width = width
        self.width = nn.Parameter(torch.full((len(self.active_dims),), width))

    def noise(self, n, generator=None):
        return torch.rand(n, len(self.active_dims), generator=generator) - 0.5

    def transform(self, noise, labels):
        return -self.width * noise.sign() * torch.log1p(-2 * noise.abs())

    def distribution(self, label=None):
        laplace = torch.distributions.Laplace(torch.zeros_like(self.width), self.width)
        return torch.distributions.Independent(laplace, 1)

    def describe(self):
        return {**super().describe(), "width": self.start_width}

    @classmethod
    def start(cls, options, dim, active_dims, num_classes):
        return cls(dim, active_dims, options.bound, options.width)


class Flatten(Network):
    """Pixels are latents."""

    class Options(Options):
        """Options of it."""

        side: Count = 8
        """Height and width."""

    reversible = True

    @property
    def image_shape(self):
        return 1, self.config.side, self.config.side

    @property
    def latent_dim(self):
        return self.config.side**2

    def encode(self, x):
        return x.flatten(1)

    def decode(self, z):
        return z.unflatten(1, self.image_shape)


@pytest.fixture
def registered():
    PRIORS.register("laplace")(Laplace)
    NETWORKS.register("flatten")(Flatten)
    yield
    forget()


def forget():
    PRIORS._others.pop("laplace", None)
    NETWORKS._others.pop("flatten", None)


def models():
    active = torch.tensor([3, 40])
    return [
        GenerativeModel(revnet("digits"), Laplace(64, active, width=0.5)),
        GenerativeModel(Flatten(Flatten.Options(side=8)), ActiveGaussian(64, active)),
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_a_registered_part_comes_back(tmp_path, registered, which):
    model = models()[which]
    save(model, tmp_path)
    loaded = load(tmp_path)
    assert type(loaded.net) is type(model.net)
    assert type(loaded.prior) is type(model.prior)
    assert loaded.config() == model.config()
    draws = [m.sample(5, generator=torch.Generator().manual_seed(0)) for m in (model, loaded)]
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (0, r"prior of the model is a Laplace, which is not registered .* nothing was saved"),
        (1, r"network of the model is a Flatten, which is not registered .* nothing was saved"),
    ],
)
def test_a_part_that_is_not_registered_is_refused_when_saving(tmp_path, which, message):
    with pytest.raises(GenrevError, match=message) as caught:
        save(models()[which], tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("which", "part"), [(0, "prior is 'laplace'"), (1, "network is 'flatten'")]
)
def test_a_part_that_is_unknown_here_is_told_with_the_cure(tmp_path, registered, which, part):
    save(models()[which], tmp_path)
    forget()
    with pytest.raises(
        GenrevError, match=rf"its {part}, .* --plugin FILE or import it\.$"
    ) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_plugin_beside_the_files_is_not_imported(tmp_path, registered, monkeypatch):
    save(models()[0], tmp_path)
    forget()
    (tmp_path / "laplace.py").write_text("raise SystemExit('executed')")
    config = json.loads((tmp_path / "config.json").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for kind in ("laplace", "laplace:Laplace", "laplace.py"):
        config["prior"]["kind"] = kind
        config["plugin"] = "laplace.py"
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(GenrevError, match="--plugin"):
            load(tmp_path)


def test_a_prior_of_ones_own_has_a_density():
    z = torch.randn(4, 64)
    expected = torch.distributions.Laplace(0.0, 0.5).log_prob(z[:, [3, 40]]).sum(1)
    torch.testing.assert_close(models()[0].prior.log_prob(z), expected)
