"""What a model is asked with: images, latents, labels and numbers, right ones and wrong ones."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from genrev.errors import GenrevError
from genrev.figures import reconstruction_rows, sample_sheet, traversal_rows
from genrev.models import GenerativeModel
from genrev.models.walks import traverse_plane
from genrev.networks import ConvAutoencoder, ConvAutoencoderConfig, RevNet, RevNetConfig
from genrev.priors import (
    ActiveGaussian,
    ActiveLogistic,
    ClassConditionalGaussian,
    DistributionPrior,
    FlowMatchingPrior,
    FlowPrior,
    GaussianMixturePrior,
)
from genrev.reversible import (
    AdditiveCoupling,
    AffineCoupling,
    HaarBands,
    Offset,
    ReversibleSequential,
    SmallMapConv2d,
)

NAMES = ("cat", "dog", "7")


def revnet_with(prior, names=None, **options):
    net = RevNet(
        RevNetConfig(
            image_size=8,
            channels=1,
            hidden_channels=(3, 3),
            blocks=(1, 1),
            kernel_sizes=(3, 1),
            bands="haar",
            **options,
        )
    )
    return GenerativeModel(net, prior, names)


MODELS = {
    "classes": lambda: revnet_with(ClassConditionalGaussian(3, 64, torch.arange(5)), NAMES),
    "mixture": lambda: revnet_with(GaussianMixturePrior(3, 2, "full", 64, torch.arange(5)), NAMES),
    "no classes": lambda: revnet_with(ActiveGaussian(64, torch.arange(5)), centred=True),
    "affine": lambda: revnet_with(ActiveLogistic(64), coupling="affine", scaling=True),
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
    ).eval(),
}
CLASSES = ["classes", "mixture"]
WHOLE = [torch.uint8, torch.int64, torch.bool]


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.mark.parametrize("dtype", WHOLE)
def test_whole_numbers_are_no_images(model, dtype):
    x = torch.ones(2, 1, 8, 8, dtype=dtype)
    cure = r"give their \.float\(\)" if dtype == torch.bool else r"give x\.float\(\) / 255"
    for ask in (
        model.encode,
        model.reconstruct,
        lambda x: model.interpolate(x, x),
        lambda x: model.traverse(x=x[:1]),
        lambda x: reconstruction_rows(model, x),
    ):
        with pytest.raises(TypeError, match=f"must be floats in \\[0, 1\\] and are .*; {cure}"):
            ask(x)


def test_whole_numbers_are_no_latents(model):
    with pytest.raises(TypeError, match=r"latents must be floats and are torch\.int64"):
        model.decode(torch.zeros(2, model.prior.dim, dtype=torch.int64))


def test_arrays_are_no_tensors(model):
    for ask, array in (
        (model.encode, np.zeros((2, 1, 8, 8))),
        (model.reconstruct, np.zeros((2, 1, 8, 8), np.uint8)),
        (lambda x: model.traverse(x=x), np.zeros((1, 1, 8, 8))),
        (model.decode, np.zeros((2, model.prior.dim))),
    ):
        with pytest.raises(TypeError, match=r"must be a torch tensor, not a numpy\.ndarray"):
            ask(array)


def test_other_shapes_are_told(model):
    for x in (torch.rand(1, 8, 8), torch.rand(2, 3, 8, 8), torch.rand(2, 1, 7, 8)):
        with pytest.raises(ValueError, match=r"images must be of shape \(N, 1, 8, 8\), .* got"):
            model.encode(x)
    for z in (torch.rand(model.prior.dim), torch.rand(2, model.prior.dim + 1)):
        with pytest.raises(ValueError, match=r"latents must be of shape \(N, \d+\), .* got"):
            model.decode(z)


def test_a_single_dimension_is_no_list_of_them(model):
    for dims in (3, np.int64(3)):
        for ask in (model.traverse, lambda dims: traverse_plane(model, dims=dims)):
            with pytest.raises(TypeError, match=r"several latent dimensions and got 3; give \[3\]"):
                ask(dims=dims)
    assert len(model.traverse(dims=np.arange(2))) == 2


def test_names_are_no_parts(model):
    kind = type(model.net)
    for wrong in ("digits", 3, ClassConditionalGaussian.Options()):
        with pytest.raises(TypeError, match=rf"{kind.__name__} takes a {kind.__name__}Config, .*"):
            kind(wrong)
    for parts in (("digits", model.prior), (model.net, "mixture"), (model.prior, model.net)):
        with pytest.raises(TypeError, match=r"takes a network and a prior, .* and got"):
            GenerativeModel(*parts)


def test_eight_bit_pixels_stored_as_floats_are_told(model):
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    with pytest.raises(ValueError, match=r"whole numbers up to 63; give x / 255"):
        model.traverse(x=x)
    assert model.traverse(x=x / 255).isfinite().all()
    assert model.traverse(x=(x > 30).float()).isfinite().all()  # black and white


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_floats_of_any_format_are_taken(model, dtype):
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(model.encode(x.to(dtype)), model.encode(x.to(dtype).float()))
    z = model.encode(x)
    torch.testing.assert_close(model.decode(z.to(dtype)), model.decode(z.to(dtype).float()))


BLOCKS = {
    "additive": lambda: AdditiveCoupling(SmallMapConv2d(2, 2), SmallMapConv2d(2, 2)),
    "affine": lambda: AffineCoupling(SmallMapConv2d(2, 4), SmallMapConv2d(2, 4), 4),
    "offset": lambda: Offset(-0.5),
    "bands": lambda: HaarBands(1),
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("exact", [False, True])
def test_blocks_take_floats(name, dtype, exact):
    x = torch.ones(2, 4, 1, 1, dtype=dtype)
    block = BLOCKS[name]()
    for run in (block, block.inverse):
        with pytest.raises(TypeError, match="blocks take floats and got torch"):
            run(x)
    if exact and name != "affine":
        with pytest.raises(TypeError, match="takes float32 or float64"):
            ReversibleSequential(block, exact=True)(x)
    elif not exact:
        with pytest.raises(TypeError, match="blocks take floats and got torch"):
            ReversibleSequential(block)(x)


def test_a_convolution_takes_the_format_of_its_weights_on_maps_of_any_size():
    for side in (1, 5):
        with pytest.raises(RuntimeError, match="should be the same"):
            SmallMapConv2d(2, 2)(torch.ones(2, 2, side, side, dtype=torch.uint8))


def seeded():
    return torch.Generator().manual_seed(1)


SAME_LABELS = [
    [2, 0, 1],
    (2, 0, 1),
    ["7", "cat", "dog"],
    [np.int64(2), "cat", torch.tensor(1)],
    np.array([2, 0, 1]),
    np.array([2, 0, 1], np.uint8),
    torch.tensor([2, 0, 1], dtype=torch.uint8),
    torch.tensor([2, 0, 1], dtype=torch.int32),
]


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("labels", SAME_LABELS, ids=repr)
def test_one_label_for_every_image(name, labels):
    model = MODELS[name]()
    expected = model.decode(model.prior.sample(3, torch.tensor([2, 0, 1]), seeded())).clamp(0, 1)
    assert torch.equal(model.sample(3, labels, seeded()), expected)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(
    "label", [2, "7", "2", np.uint8(2), torch.tensor(2), np.array(2)], ids=repr
)
def test_one_label_for_all_by_number_or_name(name, label):
    model = MODELS[name]()
    assert torch.equal(model.sample(3, label, seeded()), model.sample(3, 2, seeded()))
    assert torch.equal(model.sample(np.int64(3), label, seeded()), model.sample(3, 2, seeded()))
    assert torch.equal(model.traverse([1], label), model.traverse([1], 2))


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(
    "label",
    [True, np.True_, torch.tensor(True), 1.0, 3, -1, "bird", "3", [0, 1], [0, 1, 3], [0, 1, 1.0],
     [0, 1, True], [0, 1, None], [], b"7", b"cat", np.array([0.0, 1.0, 2.0]),
     torch.ones(3, dtype=torch.bool), pytest.param(object(), id="object")],
    ids=repr,
)  # fmt: skip
def test_labels_that_are_none(name, label):
    model = MODELS[name]()
    with pytest.raises(GenrevError, match=r"There is no class .*cat, dog, 7|need one label"):
        model.sample(3, label)
    if not isinstance(label, list | bytes) and getattr(label, "ndim", 0) == 0:
        for ask in (model.traverse, lambda label: model.traverse(label=label)):
            with pytest.raises((GenrevError, TypeError)):
                ask(label=label)
        with pytest.raises(GenrevError, match="There is no class"):
            sample_sheet(model, 4, label)
        with pytest.raises(GenrevError, match="There is no class"):
            traversal_rows(model, label=label)


@pytest.mark.parametrize("name", CLASSES)
def test_a_number_that_is_a_name_only_is_told_how_to_be_written(name):
    with pytest.raises(GenrevError, match=r"no class 7: .* cat, dog, 7; .* write '7'\.$"):
        MODELS[name]().sample(2, 7)


@pytest.mark.parametrize("label", [1, "all", True, -1, [1, 1], torch.tensor([0, 1])], ids=repr)
@pytest.mark.parametrize("name", ["no classes", "affine", "autoencoder"])
def test_a_model_without_labels_has_no_class(name, label):
    with pytest.raises(GenrevError, match=r"knows no classes; leave the label out"):
        MODELS[name]().sample(2, label)


@pytest.mark.parametrize("n", [0, -1, True, 2.0, "2", None, torch.tensor(1.5)], ids=repr)
def test_numbers_of_samples_that_are_none(model, n):
    with pytest.raises(GenrevError, match="must be a whole number, 1 or more, not"):
        model.sample(n)


@pytest.mark.parametrize("make", [
    lambda: ActiveGaussian(6), lambda: ActiveLogistic(6), lambda: ClassConditionalGaussian(3, 6),
    lambda: GaussianMixturePrior(3, 2, "diag", 6), lambda: DistributionPrior(6),
    lambda: FlowPrior(3, 6, layers=1, hidden=2),
    lambda: FlowMatchingPrior(3, 6, layers=1, hidden=2),
])  # fmt: skip
def test_priors_refuse_what_is_no_class_and_no_number(make):
    prior = make()
    for n in (-1, True, 2.0):
        with pytest.raises((TypeError, ValueError), match="n "):
            prior.sample(n)
    for label in (True, 1.0, 3, -1, "0", [0, 1.5], [0, True]):
        with pytest.raises((TypeError, ValueError), match="label"):
            prior.sample(2, label)
    assert prior.sample(0).shape == (0, 6)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.sampled_from(["u1", "i4", "i8"]))
def test_labels_of_any_format_draw_from_their_classes(labels, dtype):
    prior = ClassConditionalGaussian(5, 3)
    nn.init.zeros_(prior.std)
    prior.mean.data.copy_(torch.arange(5.0).unsqueeze(1).expand(5, 3))
    drawn = prior.sample(len(labels), np.array(labels, dtype))
    assert drawn[:, 0].tolist() == [float(label) for label in labels]


def test_a_network_of_no_images_is_told(model):
    with pytest.raises(TypeError, match="Identity has no latent_dim"):
        GenerativeModel(nn.Identity(), model.prior)
    assert "active" in repr(model.prior)
