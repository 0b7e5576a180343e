"""Exported programs compute what the model computes, in a process without genrev too."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from genrev.errors import GenrevError
from genrev.export import export
from genrev.models import GenerativeModel
from genrev.networks import Network, RevNet, RevNetConfig
from genrev.options import Options
from genrev.priors import ActiveGaussian, ActiveUniform, ClassConditionalGaussian
from genrev.reversible import Engine, round_to_grid

ACTIVE = torch.tensor([1, 5, 11])


def revnet(prior=None, hidden=6, exact=False):
    config = RevNetConfig(
        image_size=2,
        channels=1,
        hidden_channels=(hidden,),
        blocks=(1,),
        kernel_sizes=(3,),
        padding=1,
    )
    net = RevNet(config, Engine(exact=exact))
    return GenerativeModel(net, prior or ClassConditionalGaussian(3, 16, ACTIVE, 2.0))


def revnet_of_bands(exact=False):
    config = RevNetConfig(
        image_size=4,
        channels=3,
        hidden_channels=(4, 4),
        blocks=(1, 1),
        kernel_sizes=(3, 1),
        bands="haar",
        colours="luma-chroma",
        centred=True,
    )
    net = RevNet(config, Engine(exact=exact))
    return GenerativeModel(net, ActiveGaussian(48, ACTIVE))


class Plain(Network):
    """Ordinary layers, batch normalisation among them; it is not registered."""

    image_shape = (2, 4, 4)
    latent_dim = 6

    def __init__(self):
        super().__init__(Options())
        self.encoder = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
            nn.Linear(64, 6),
        )  # fmt: skip
        self.decoder = nn.Sequential(nn.Linear(6, 32), nn.Unflatten(1, (2, 4, 4)))

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)


def plain(kind):
    return GenerativeModel(kind(), ActiveGaussian(6))


class FixesTheBatch(Plain):
    def encode(self, x):
        return self.encoder(x).reshape(len(x), 6)


class Noisy(Plain):
    def decode(self, z):
        return self.decoder(z) + torch.rand(z.shape[0], 2, 4, 4)


def run_onnx(path, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    (y,) = session.run(None, {name: x.numpy() for name, x in inputs.items()})
    return torch.from_numpy(y)


def run_pt2(path, inputs):
    return torch.export.load(path).module()(*inputs.values())


@pytest.fixture(params=[".pt2", ".onnx"])
def suffix(request):
    if request.param == ".onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    return request.param


def run(path, **inputs):
    return (run_onnx if path.suffix == ".onnx" else run_pt2)(path, inputs)


@pytest.mark.parametrize(
    "make", [revnet, revnet_of_bands, lambda: plain(Plain)], ids=["RevNet", "bands", "plain layers"]
)
@torch.no_grad()
def test_both_directions_are_those_of_the_model_on_any_batch(tmp_path, suffix, make):
    model = make()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    encoder, decoder = export(model, tmp_path / f"m{suffix}")
    assert [f.path.name for f in (encoder, decoder)] == [f"m.encode{suffix}", f"m.decode{suffix}"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"m.decode{suffix}", f"m.encode{suffix}"]
    assert encoder.difference <= encoder.tolerance
    assert model.training  # left as it was
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    model.eval()
    for n in (1, 2, 9):
        x = torch.rand(n, *model.image_shape)
        z = model.encode(x)
        assert torch.allclose(run(encoder.path, images=x), z, atol=1e-5)
        assert torch.allclose(run(decoder.path, latents=z), model.decode(z), atol=1e-5)


@pytest.mark.parametrize(
    "prior",
    [
        ClassConditionalGaussian(3, 16, ACTIVE, 2.0),
        ClassConditionalGaussian(1, 16, ACTIVE),
        ActiveUniform(16, ACTIVE, 1.5),
    ],
    ids=["classes", "one class", "uniform"],
)
def test_sampling_from_given_noise_is_the_models_sampling(tmp_path, prior):
    model = revnet(prior).eval()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.uniform_(0.1, 0.5)
    (file,) = export(model, tmp_path / "s.pt2", "sample")
    assert file.path.name == "s.pt2"
    inputs = {"noise": prior.noise(7, torch.Generator().manual_seed(5))}
    if prior.num_classes > 1:
        inputs["labels"] = torch.full((7,), 2)
    label = 2 if prior.num_classes > 1 else None
    expected = model.sample(7, label, torch.Generator().manual_seed(5))
    assert torch.allclose(run_pt2(file.path, inputs), expected, atol=1e-6)


@torch.no_grad()
def test_plain_operations_stand_for_the_kernels_of_small_maps(tmp_path):
    model = revnet(hidden=256).eval()
    x = torch.rand(40, 1, 2, 2)
    file = export(model, tmp_path / "m.pt2", "encode")[0]
    assert torch.allclose(run(file.path, images=x), model.encode(x), atol=1e-5)
    targets = {str(node.target) for node in torch.export.load(file.path).graph.nodes}
    assert "aten.conv2d.default" in targets
    assert not any(name.startswith(("aten.addmm", "aten.as_strided")) for name in targets)


@pytest.mark.slow
@torch.no_grad()
def test_exact_models_stay_exact(tmp_path, suffix):
    model = revnet(exact=True).eval()
    encoder, decoder = export(model, tmp_path / f"m{suffix}")
    x = round_to_grid(torch.rand(6, 1, 2, 2))
    z = run(encoder.path, images=x)
    assert torch.equal(z, round_to_grid(z))
    assert torch.equal(run(decoder.path, latents=z), x)
    assert torch.allclose(z, model.encode(x), atol=1e-4)


def test_files_say_what_they_are_and_name_no_path_of_the_machine(tmp_path, suffix):
    model = revnet()
    file = export(model, tmp_path / f"m{suffix}", "decode")[0]
    if suffix == ".onnx":
        import onnx

        loaded = onnx.load(file.path)
        onnx.checker.check_model(loaded, full_check=True)
        about = json.loads({p.key: p.value for p in loaded.metadata_props}["genrev"])
        assert loaded.opset_import[0].version == file.opset == 20
        assert loaded.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    else:
        extra = {"genrev.json": ""}
        torch.export.load(file.path, extra_files=extra)
        about = json.loads(extra["genrev.json"])
    assert about["config"] == json.loads(json.dumps(model.config()))
    assert about["direction"] == "decode"
    here = str(Path(__file__).parents[2]).encode()
    assert here not in file.path.read_bytes()


def test_weights_alone(tmp_path):
    model = revnet()
    (file,) = export(model, tmp_path / "new/w.safetensors")
    tensors = load_file(file.path)
    assert all(torch.equal(tensors[name], t) for name, t in model.state_dict().items())
    with safe_open(file.path, "pt") as opened:
        about = json.loads(opened.metadata()["genrev"])
    assert about["config"]["network"]["kind"] == "revnet"


@pytest.mark.parametrize(
    ("make", "name", "direction", "message"),
    [
        (revnet, "m.pth", None, "must end in one of .safetensors, .pt2, .onnx"),
        (revnet, "m.pt2", "sideways", "no direction 'sideways'"),
        (revnet, "m.safetensors", "encode", "have no direction"),
        (lambda: plain(FixesTheBatch), "m.pt2", "encode", r"not from len\(x\)"),
        (lambda: plain(Noisy), "m.pt2", "decode", "differs from the model"),
    ],
)
def test_what_cannot_be_is_told_and_leaves_old_files(tmp_path, make, name, direction, message):
    (tmp_path / name).write_text("old")
    with pytest.raises(GenrevError, match=message) as caught:
        export(make(), tmp_path / name, direction)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


@pytest.mark.parametrize("package", ["onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(tmp_path, without, package):
    without(package)
    with pytest.raises(GenrevError, match=f"needs the package {package}.*genrev\\[export\\]"):
        export(plain(Plain), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GenrevError, match="cannot be written"):
        export(plain(Plain), tmp_path / "file/m.pt2")


ALONE = """
import sys
sys.path += {paths!r}
sys.modules["genrev"] = None  # wherever it may be installed
try:
    import genrev
except ImportError:
    pass
else:
    raise SystemExit("genrev is here")
import numpy as np
import torch
for name, x in {inputs!r}.items():
    x = torch.tensor(x)
    for suffix in {suffixes!r}:
        if suffix == ".pt2":
            y = torch.export.load(f"m.{{name}}.pt2").module()(x).detach().numpy()
        else:
            import onnxruntime
            session = onnxruntime.InferenceSession(f"m.{{name}}.onnx")
            (y,) = session.run(None, {{session.get_inputs()[0].name: x.numpy()}})
        np.save(f"{{name}}{{suffix}}.npy", y)
"""


def test_a_process_without_genrev_gets_the_same_numbers(tmp_path):
    suffixes, packages = [".pt2"], [torch, np]
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError:
        pass
    else:
        suffixes.append(".onnx")
        packages.append(onnxruntime)
    model = revnet().eval()
    for suffix in suffixes:
        export(model, tmp_path / f"m{suffix}")
    x, z = torch.rand(3, 1, 2, 2), model.prior.sample(4).detach()
    paths = sorted({str(Path(package.__file__).parents[1]) for package in packages})
    inputs = {"encode": x.tolist(), "decode": z.tolist()}
    script = ALONE.format(paths=paths, inputs=inputs, suffixes=suffixes)
    # Isolated (-I) and without the site's .pth files (-S), which name editable installs.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = {"encode": model.encode(x), "decode": model.decode(z)}
    for name, y in expected.items():
        for suffix in suffixes:
            found = np.load(tmp_path / f"{name}{suffix}.npy")
            assert np.allclose(found, y.numpy(), atol=1e-5), (name, suffix)
