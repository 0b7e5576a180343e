"""What is saved loads, as it was; what could not be loaded is not saved."""

import contextlib

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import genrev
from genrev.errors import GenrevError
from genrev.export import export
from genrev.models import GenerativeModel, load, save
from genrev.networks import ConvAutoencoder, ConvAutoencoderConfig, Jet, RevNet, RevNetConfig
from genrev.priors import (
    ActiveGaussian,
    ClassConditionalGaussian,
    DistributionPrior,
    FlowMatchingPrior,
    FlowPrior,
    GaussianMixturePrior,
)


def revnet(prior=None, kind=GenerativeModel, **options):
    net = RevNet(
        RevNetConfig(
            image_size=4,
            channels=1,
            hidden_channels=(3,),
            blocks=(1,),
            kernel_sizes=(3,),
            **options,
        )
    )
    return kind(net, prior or ClassConditionalGaussian(2, 16, torch.tensor([1, 5])))


MODELS = {
    "RevNet": revnet,
    "affine": lambda: revnet(coupling="affine", scaling=True),
    "jet": lambda: GenerativeModel(
        Jet(Jet.presets["jet8"].replace(couplings=2, width=4)), ActiveGaussian(64)
    ),
    "mixture": lambda: revnet(GaussianMixturePrior(2, 2, "full", 16, torch.arange(3))),
    "flow": lambda: revnet(FlowPrior(2, 16, torch.arange(3), layers=2, hidden=4)),
    "flow-matching": lambda: revnet(FlowMatchingPrior(2, 16, torch.arange(3), None, 2, 4)),
    "distribution": lambda: revnet(DistributionPrior(16, torch.arange(3))),
    "autoencoder": lambda: GenerativeModel(
        ConvAutoencoder(
            ConvAutoencoderConfig(
                image_size=8,
                channels=1,
                latent_dim=4,
                encoder_channels=(4, 8),
                decoder_channels=(8, 4, 4),
            )
        ),
        ActiveGaussian(4, bound=None),
    ),
}
FORMATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def assert_same(ours, theirs):
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert torch.equal(ours[name], tensor)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("kind", MODELS)
def test_models_keep_their_number_format_and_work_in_it(tmp_path, kind, dtype):
    model = MODELS[kind]().to(dtype)
    save(model, tmp_path)
    loaded = load(tmp_path)
    assert_same(loaded.state_dict(), model.state_dict())
    x = torch.rand(2, *model.image_shape)
    for images in (loaded.sample(2), loaded.reconstruct(x), loaded.interpolate(x, x),
                   loaded.traverse()):  # fmt: skip
        assert images.dtype == dtype
        assert images.isfinite().all()


def test_parts_in_formats_of_their_own(tmp_path):
    model = revnet()
    model.net.bfloat16()
    model.prior.double()
    save(model, tmp_path)
    assert_same(load(tmp_path).state_dict(), model.state_dict())


@contextlib.contextmanager
def default(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("kind", MODELS)
def test_loading_does_not_depend_on_the_defaults_of_pytorch(tmp_path, kind, dtype):
    model = MODELS[kind]()
    save(model, tmp_path)
    with default(dtype):
        loaded = load(tmp_path)
    assert_same(loaded.state_dict(), model.state_dict())
    with torch.device("meta"):
        assert_same(load(tmp_path).state_dict(), model.state_dict())


def wrapped_part(wrap):
    def put(model):
        if isinstance(model.net, RevNet):
            model.net.blocks = torch.compile(model.net.blocks)
            model.net = torch.compile(model.net)
        else:
            model.net.encoder = wrap(model.net.encoder)
        return model

    return put


WRAPPERS = {
    "compiled": torch.compile,
    "parallel": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "both": lambda model: torch.compile(nn.DataParallel(model)),
    "compiled parts": wrapped_part(torch.compile),
    "parts of several": wrapped_part(lambda part: torch.compile(nn.DataParallel(part))),
}


@pytest.mark.parametrize("kind", ["RevNet", "autoencoder"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_are_left_out(tmp_path, kind, wrapper):
    model = MODELS[kind]()
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wrapped = WRAPPERS[wrapper](model)
    save(wrapped, tmp_path)
    assert_same(load(tmp_path).state_dict(), expected)
    if wrapper == "compiled parts":
        wrapped.save_pretrained(tmp_path / "pretrained")
        assert_same(load(tmp_path / "pretrained").state_dict(), expected)
        export(wrapped, tmp_path / "weights.safetensors")
        assert load_file(tmp_path / "weights.safetensors").keys() == expected.keys()


class OwnPrior(ActiveGaussian):
    pass


class OwnModel(GenerativeModel):
    pass


class OwnNet(RevNet):
    pass


def with_block(module):
    model = revnet()
    model.net.blocks.blocks[1].f[1] = module
    return model


def with_own_net():
    model = revnet()
    model.net = OwnNet(model.net.config)
    return model


def with_weight_norm():
    model = revnet()
    torch.nn.utils.parametrizations.weight_norm(model.net.blocks.blocks[1].f[0])
    return model


def with_buffer():
    model = revnet()
    model.register_buffer("mine", torch.zeros(1))
    return model


def with_nan():
    model = revnet()
    model.prior.mean.data[0, 0] = torch.nan
    return model


def with_info(info):
    model = revnet()
    model.info = info
    return model


NOT_LOADABLE = {
    "prior": (
        lambda: revnet(OwnPrior(16)),
        "The prior of the model is a OwnPrior, which is not registered",
    ),
    "model": (lambda: revnet(kind=OwnModel), "A OwnModel is not a model with a prior"),
    "net": (with_own_net, "The network of the model is a OwnNet, which is not registered"),
    "block": (lambda: with_block(nn.Tanh()), r"f\.1 is Tanh, and loading would make it ReLU"),
    "parametrized": (with_weight_norm, "ParametrizedSmallMapConv2d"),
    "buffer": (with_buffer, "'mine' should be missing"),
    "NaN": (with_nan, "'prior.mean' has numbers that are not finite"),
    "meta": (lambda: revnet().to("meta"), "on the meta device and has no numbers"),
    "no prior": (
        lambda: RevNet(
            RevNetConfig(
                image_size=4, channels=1, hidden_channels=(3,), blocks=(1,), kernel_sizes=(3,)
            )
        ),
        "not a model with a prior",
    ),
    "info, NaN": (lambda: with_info({"loss": float("nan")}), "finite numbers in info"),
    "info, object": (lambda: with_info({"run": object()}), "keep to dicts"),
    "info, list": (lambda: with_info([1]), "info must be a dict"),
    "info, huge": (lambda: with_info({"text": "x" * 2**20}), "more than 1,048,576 bytes"),
}


@pytest.mark.parametrize("kind", NOT_LOADABLE)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, kind):
    make, message = NOT_LOADABLE[kind]
    earlier = revnet()
    save(earlier, tmp_path / "earlier")
    for folder in (tmp_path / "new", tmp_path / "earlier"):
        with pytest.raises(GenrevError, match=message) as caught:
            save(make(), folder)
        assert "nothing was saved" in str(caught.value) or "keep its weights" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()
    assert_same(load(tmp_path / "earlier").state_dict(), earlier.state_dict())


def test_the_engine_that_older_versions_kept_with_the_network_is_passed_over():
    model = revnet()
    config = model.config()
    config["network"] |= {"memory": "stored", "exact": False, "compile": False}
    assert GenerativeModel.from_config(config).config() == model.config()
    config["network"]["memories"] = "stored"
    with pytest.raises(GenrevError, match="memories"):
        GenerativeModel.from_config(config)


def test_a_folder_for_the_hub_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    model = GenerativeModel(genrev.revnet("digits"), genrev.priors.ActiveGaussian(64))
    with pytest.raises(GenrevError, match=r"file cannot be written \(.*\); name another folder"):
        model.save_pretrained(tmp_path / "file")


def test_the_model_of_a_training_run_is_not_replaced(tmp_path):
    (tmp_path / "config.yaml").touch()
    with pytest.raises(GenrevError, match=r"is the folder of a training run, .* another folder"):
        load("mnist").save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
