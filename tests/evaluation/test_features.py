"""TorchScript extractors: names, grey images, and one clear sentence for every wrong file."""

import hashlib
import pickle
import zipfile

import pytest
import torch
from torch import Tensor, nn

from genrev.errors import GenrevError
from genrev.evaluation import TorchScriptFeatures, evaluate

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")


class ChannelMeans(nn.Module):
    """Takes three channels only, as an Inception network does."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, 5, 1, bias=False)
        nn.init.constant_(self.mix.weight, 1.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(images.float()).mean([2, 3])


class Flat(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().flatten(1)


class OneVector(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean([0, 2, 3])


class Pair(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


def saved(module, path):
    torch.jit.save(torch.jit.script(module), str(path))
    return path


def images(n: int, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, channels, 6, 8), generator=generator).byte()


def test_colour(tmp_path):
    path = saved(ChannelMeans(), tmp_path / "inception_means.pt")
    extractor = TorchScriptFeatures(path)
    assert (extractor.name, extractor.dim, extractor.resize) == ("fid5", 5, "inside extractor")
    assert extractor.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    x = images(7, 3)
    expected = x.float().mean([2, 3]).sum(1, keepdim=True).expand(7, 5)
    result = extractor(x)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected)


def test_grey_images_are_repeated(tmp_path):
    extractor = TorchScriptFeatures(saved(ChannelMeans(), tmp_path / "inception_means.pt"))
    x = images(4, 1)
    assert torch.equal(extractor(x), extractor(x.repeat(1, 3, 1, 1)))


def test_grey_extractor(tmp_path):
    extractor = TorchScriptFeatures(saved(ChannelMeans(1), tmp_path / "grey.pt"))
    x = images(4, 1)
    torch.testing.assert_close(extractor(x)[:, 0], x.float().mean([1, 2, 3]))
    with pytest.raises(GenrevError, match="takes images with 1 channels and the data has 3"):
        extractor(images(4, 3))


def test_refuses_floats(tmp_path):
    extractor = TorchScriptFeatures(saved(ChannelMeans(), tmp_path / "inception_means.pt"))
    with pytest.raises(TypeError, match="uint8"):
        extractor(torch.rand(2, 3, 8, 8))


def test_no_file(tmp_path):
    with pytest.raises(GenrevError, match=r"Cannot read .*missing\.pt \(No such file"):
        TorchScriptFeatures(tmp_path / "missing.pt")


class Mine:
    """Unpickling this leaves a trace."""

    traces: tuple[str, ...] = ()

    def __reduce__(self):
        return _trace, ("unpickled",)


def _trace(word: str) -> None:
    Mine.traces = (*Mine.traces, word)


@pytest.mark.parametrize("kind", ["text", "pickle", "torch.save", "empty"])
def test_not_torchscript(tmp_path, kind):
    path = tmp_path / "file.pt"
    if kind == "torch.save":
        torch.save({"weights": torch.zeros(3), "mine": Mine()}, path)
    else:
        content = {"text": b"hello", "pickle": pickle.dumps(Mine()), "empty": b""}
        path.write_bytes(content[kind])
    with pytest.raises(
        GenrevError, match=r"is no TorchScript file .*\(.*(archive|constants).*\); save it"
    ):
        TorchScriptFeatures(path)
    assert Mine.traces == ()


def test_an_operator_that_this_torch_has_not_is_named(tmp_path):
    path = saved(ChannelMeans(), tmp_path / "newer.pt")
    with zipfile.ZipFile(path) as old:
        files = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name, content in files.items():
            new.writestr(name, content.replace(b"torch.mean", b"torch.maen"))
    with pytest.raises(GenrevError, match=r"can load \(Unknown builtin op: aten::maen\); save it"):
        TorchScriptFeatures(path)


@pytest.mark.parametrize("module", [OneVector(), Pair()])
def test_wrong_output(tmp_path, module):
    path = saved(module, tmp_path / "wrong.pt")
    with pytest.raises(GenrevError, match=r"returns .* has to return a tensor of shape \(2, D\)"):
        TorchScriptFeatures(path)


def test_output_that_depends_on_the_image_size(tmp_path):
    extractor = TorchScriptFeatures(saved(Flat(), tmp_path / "flat.pt"))
    with pytest.raises(GenrevError, match=r"returns \(2, 144\) .* shape \(2, 12288\)"):
        extractor(images(2, 3))


def test_module_that_takes_no_images(tmp_path):
    path = saved(nn.Linear(3, 4), tmp_path / "linear.pt")
    with pytest.raises(GenrevError, match=r"fails on a uint8 tensor of shape \(2, 3, 64, 64\)"):
        TorchScriptFeatures(path)


@pytest.mark.slow
def test_inception(real_data):
    path = real_data / "inception" / "inception768.pt"
    if not path.exists():
        pytest.skip(f"there is no {path}")
    extractor = TorchScriptFeatures(path)
    assert (extractor.name, extractor.dim) == ("fid768", 768)
    features = extractor(images(2, 1))
    assert features.shape == (2, 768)
    assert features.isfinite().all()
    assert (features >= 0).all()  # means after ReLU


def test_an_evaluation_takes_features_by_the_name_of_their_file(tmp_path, unconditional, draw):
    path, data = saved(ChannelMeans(1), tmp_path / "means.pt"), draw(unconditional, 50, seed=0)
    expected = evaluate(unconditional, data, ["frechet"], 50, TorchScriptFeatures(path))
    assert evaluate(unconditional, data, ["frechet"], 50, features=path) == expected
    with pytest.raises(GenrevError, match=r"none\.pt"):
        evaluate(unconditional, data, ["frechet"], 50, features="none.pt")
