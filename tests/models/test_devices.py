"""Which device is taken, batches that shrink where memory ends, and that nothing leaves a device.

There may be no accelerator here: devices are named by a stand-in, memory ends in one, and the last
tests run on a device whose tensors have no numbers (``meta``, under ``FakeTensorMode``), where what
is there cannot be mixed with what is on the CPU, as on CUDA.
"""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributions import Independent, Normal

import genrev
from genrev.app.exhibit import between, from_sample, moved
from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation import Classifier, ClassifierFeatures, classify
from genrev.models import GenerativeModel, devices, load, walks
from genrev.models.devices import (
    all_at_once,
    batch_size_on,
    choose_device,
    in_batches,
    tf32,
    told_device,
)
from genrev.models.walks import interpolate, traverse, traverse_plane
from genrev.networks import NETWORKS, revnet
from genrev.priors import (
    ActiveGaussian,
    ActiveLogistic,
    ActiveUniform,
    ClassConditionalGaussian,
    DistributionPrior,
    FlowMatchingPrior,
    FlowPrior,
    GaussianMixturePrior,
    Prior,
)

TWO = {"cpu": "", "cuda:0": "NVIDIA H200", "cuda:1": "NVIDIA T4"}
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation."


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(devices, "devices_here", lambda: TWO)


def test_by_default_the_accelerator_that_is_there(two_gpus, monkeypatch):
    assert choose_device() == torch.device("cuda:0")
    assert told_device(torch.device("cuda")) == "cuda:0 (NVIDIA H200)"
    monkeypatch.setattr(devices, "devices_here", lambda: {"cpu": ""})
    assert choose_device() == torch.device("cpu")
    assert told_device(choose_device()) == "cpu"


@pytest.mark.parametrize("name", ["cpu", "cpu:0", "cuda", "cuda:0", "cuda:1", torch.device("cuda")])
def test_a_device_that_is_there(two_gpus, name):
    assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["cuda:2", "mps", "meta", "gpu", "", "cuda:x"])
def test_a_device_that_is_not_there_names_those_that_are(two_gpus, name):
    known = r"choose from cpu, cuda:0 \(NVIDIA H200\), cuda:1 \(NVIDIA T4\)\."
    with pytest.raises(GenrevError, match=f"no device '{name}' here; {known}$"):
        choose_device(name)
    with pytest.raises(GenrevError, match="no device"):
        load("mnist", name)


def test_what_torch_says_is_there(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert devices.devices_here() == {"cpu": "", "mps:0": ""}
    assert choose_device("mps") == torch.device("mps")


def test_batches_on_the_cpu_keep_their_size():
    assert batch_size_on(torch.device("cpu"), 100) == 100
    assert batch_size_on(torch.device("cuda"), 100) == devices.AT_ONCE
    assert batch_size_on(torch.device("cuda"), 5000) == 5000


class Memory:
    """Doubles numbers; more than ``room`` of them at a time do not fit."""

    def __init__(self, room, error):
        self.room, self.error, self.sizes = room, error, []

    def __call__(self, x):
        self.sizes.append(len(x))
        if len(x) > self.room:
            raise self.error
        return 2 * x


@pytest.mark.filterwarnings("ignore:a batch of")
@given(n=st.integers(0, 40), size=st.integers(1, 50), room=st.integers(1, 50))
def test_batches_cover_all_items_in_their_order(n, size, room):
    x, compute = torch.arange(n), Memory(room, torch.OutOfMemoryError(FULL))
    found = list(in_batches(compute, x, size))
    assert torch.equal(torch.cat([x[:0], *found]), 2 * x)
    assert all(len(part) <= min(size, room) for part in found)
    failed = [s for s in compute.sizes if s > room]
    assert compute.sizes[: len(failed)] == failed  # what did not fit is not tried again
    # As large as fits: half as many again would not have.
    assert not failed or len(found[0]) == (failed[-1] + 1) // 2


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(FULL),
        RuntimeError(f"The following operation failed in the TorchScript interpreter.\n{FULL}"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["cuda", "TorchScript", "cpu", "cublas"],
)
def test_whatever_says_that_memory_ended_halves_the_batch(error):
    with pytest.warns(UserWarning, match="^a batch of 8 does not fit into memory; going on with 4"):
        assert torch.equal(all_at_once(Memory(4, error), torch.ones(8)), torch.full((8,), 2.0))


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"):
        list(in_batches(Memory(0, RuntimeError("shapes do not fit")), torch.ones(4), 2))
    with pytest.raises(ValueError, match="batch_size"):
        list(in_batches(torch.sum, torch.ones(4), 0))


@pytest.mark.filterwarnings("ignore:a batch of")
def test_an_image_that_does_not_fit_alone_is_one_sentence():
    with pytest.raises(GenrevError, match=r"^A single image .*Tried to allocate 2.00 GiB\); end"):
        all_at_once(Memory(0, torch.OutOfMemoryError(FULL)), torch.ones(4))


def test_nothing_of_a_failed_attempt_is_kept():
    """An error holds on to the frames that it went through, and these to their tensors."""
    kept = []

    class Large:
        def __del__(self):
            kept.remove(id(self))

    def compute(x):
        large = Large()
        kept.append(id(large))
        if len(x) > 1:
            raise torch.OutOfMemoryError(FULL)
        assert len(kept) == 1
        return x

    with pytest.warns(UserWarning, match="going on with 1"):
        list(in_batches(compute, torch.ones(2)))


@pytest.mark.filterwarnings("ignore:a batch of")
def test_samples_that_do_not_fit_at_once_are_the_same_samples(monkeypatch):
    model = GenerativeModel(revnet("digits"), GaussianMixturePrior(2, 3, "full", 64)).eval()
    decode, generator = model.net.decode, torch.Generator()
    whole = model.sample(20, generator=generator.manual_seed(1))
    x = torch.rand(9, 1, 8, 8)
    expected = [model.reconstruct(x), interpolate(model, x, x.flip(0)), traverse(model, label=1)]

    def small(z):
        if len(z) > 6:
            raise torch.OutOfMemoryError(FULL)
        return decode(z)

    monkeypatch.setattr(model.net, "decode", small)
    again = model.sample(20, generator=generator.manual_seed(1))
    torch.testing.assert_close(again, whole)
    found = [model.reconstruct(x), interpolate(model, x, x.flip(0)), traverse(model, label=1)]
    torch.testing.assert_close(found, expected)


def test_tf32_comes_back():
    torch.backends.cudnn.allow_tf32 = True
    with tf32(False):
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="by names of PyTorch 2.9"
)
@pytest.mark.parametrize("place", ["cuda.matmul", "cudnn.conv", "cudnn.rnn"])
def test_tf32_comes_back_where_it_was_set_by_its_new_name(place):
    """In a process of its own, which PyTorch does not let return to the old names."""
    code = f"""
import torch
from torch.backends import cuda, cudnn
from genrev.models.devices import tf32
{place}.fp32_precision = "ieee"
cuda.matmul.fp32_precision = "tf32"
read = lambda: (cuda.matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision)
before = read()
for allowed in (True, False):
    with tf32(allowed):
        assert set(read()) <= ({{"tf32"}} if allowed else {{"ieee", "none"}}), read()
    assert read() == before, (before, read())
"""
    subprocess.run([sys.executable, "-c", code], check=True)


class Hidden(ActiveGaussian):
    """Its scale is a buffer that is not saved."""

    def __init__(self, dim):
        super().__init__(dim, torch.arange(4))
        self.register_buffer("width", torch.ones(4), persistent=False)

    def distribution(self, label=None):
        normal = Normal(torch.zeros_like(self.width), self.width, validate_args=False)
        return Independent(normal, 1)

    noise, transform = Prior.noise, Prior.transform


PRIORS = {
    "hidden": Hidden,
    "gaussian": lambda dim: ActiveGaussian(dim, torch.arange(4)),
    "uniform": lambda dim: ActiveUniform(dim, torch.arange(4)),
    "logistic": lambda dim: ActiveLogistic(dim),
    "classes": lambda dim: ClassConditionalGaussian(3, dim, torch.arange(4)),
    "mixture": lambda dim: GaussianMixturePrior(3, 2, "full", dim, torch.arange(4)),
    "diagonal": lambda dim: GaussianMixturePrior(3, 2, "diag", dim, torch.arange(4)),
    "flow": lambda dim: FlowPrior(3, dim, torch.arange(4), layers=2, hidden=4),
    "flow-matching": lambda dim: FlowMatchingPrior(3, dim, torch.arange(4), None, 2, 4),
    "distribution": lambda dim: DistributionPrior(dim, torch.arange(4)),
}


NETWORK = {
    "revnet": lambda: revnet("digits"),
    "jet": lambda: NETWORKS["jet"](NETWORKS["jet"].presets["jet8"]),
    "conv-autoencoder": lambda: NETWORKS["conv-autoencoder"](
        NETWORKS["conv-autoencoder"].presets["wae8"]
    ),
}


def pretend_elsewhere(module):
    """Put fake tensors, of the mode that is active, in place of a module's."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
                learned = isinstance(tensor, nn.Parameter)
                tensors[name] = nn.Parameter(fake) if learned else fake
    return module


@pytest.fixture
def unchecked(monkeypatch):
    """Without the look at pixels, which pretended ones have not."""
    for module in (walks, genrev.models.model):
        monkeypatch.setattr(module, "images_for", lambda model, x, name: x)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("network", NETWORK)
def test_nothing_of_a_model_leaves_its_device(network, prior, unchecked):
    net = NETWORK[network]()
    model = GenerativeModel(net, PRIORS[prior](net.latent_dim)).eval()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        pretend_elsewhere(model)
        x, noise = torch.rand(5, 1, 8, 8, device="meta"), torch.Generator().manual_seed(0)
        z, last = model.encode(x), model.prior.num_classes - 1
        found = [z, model.decode(z), model.reconstruct(x), model.prior.log_prob(z)]
        found += [model.sample(5), model.sample(2, last, noise), classify(model, x)]
        found += [interpolate(model, x, x), traverse(model, [0, 1], last, x=x[:1])]
        found += [traverse_plane(model, last, dims=(0, 1)), from_sample(model, last)]
        if net.bijective and prior == "logistic":
            found.append(model.log_prob(x))
        assert {tensor.device for tensor in found} == {torch.device("meta")}
        start, ends = z[0].cpu(), z[:2].cpu()  # what the page keeps may be anywhere
        shown = [moved(model, start, [0, 1], [0.5, -1], last), between(model, ends, 0.5)]
        assert {picture.device for picture in shown} == {torch.device("cpu")}


def test_features_come_back_to_the_cpu_from_where_the_classifier_is():
    classifier = Classifier((1, 8, 8), 3).eval()
    digest = ClassifierFeatures(classifier).sha256
    with FakeTensorMode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "sha256", digest)
        extractor = ClassifierFeatures(pretend_elsewhere(classifier))
        images = torch.zeros(7, 1, 8, 8, dtype=torch.uint8)
        assert extractor.device == torch.device("meta")
        assert extractor(images).device == classifier.predict(images).device == torch.device("cpu")
        assert classifier.predict(images.to("meta")).device == torch.device("meta")


def test_a_fake_device_refuses_what_cuda_does():
    """That the tests above can fail."""
    told = "different devices" if torch.__version__ < (2, 8) else "same device"
    with FakeTensorMode(), pytest.raises(RuntimeError, match=told):
        torch.ones(2, device="meta") + torch.ones(2)


@pytest.mark.gpu
def test_a_gpu_computes_what_the_cpu_does():
    """Tolerances are those of docs/howto.md."""
    model, data = load("mnist"), genrev.load_images("digits")
    there = load("mnist", "cuda")
    noise = torch.Generator()
    x = torch.nn.functional.interpolate(data.tensor(range(50)), 28)
    with tf32(False):  # as commands have it
        a, b = (m.sample(50, generator=noise.manual_seed(3)).cpu() for m in (model, there))
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)
        torch.testing.assert_close(model.encode(x), there.encode(x.cuda()).cpu(), atol=1e-3, rtol=0)
    pixels = (x * 255).byte().numpy()
    images = ImageData(pixels, data.labels[:50], data.class_names, "large digits", "0" * 64)
    one, two = (
        genrev.evaluate(m, images, ["reconstruction", "latent", "frechet", "kid", "prdc"], n=50)
        for m in (model, there)
    )
    assert two["frechet"]["distance"] == pytest.approx(one["frechet"]["distance"], rel=1e-3)
    assert two["kid"]["estimate"] == pytest.approx(one["kid"]["estimate"], rel=1e-2)
    for way in ("restricted", "full"):
        assert two["reconstruction"][way]["l1"] == pytest.approx(
            one["reconstruction"][way]["l1"], rel=1e-3, abs=1e-6
        )
    for name in ("precision", "recall", "density", "coverage"):
        assert two["prdc"][name] == pytest.approx(one["prdc"][name], abs=0.05)
