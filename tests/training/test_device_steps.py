"""A step on a device: no wait for it, no copy to or from it, and the same result as a graph.

The device is ``meta``, which has no numbers: what the host asks of it fails. Graphs are recorded by
a stand-in that runs the recorded function again on the buffers of the recording.
"""

import copy

import lightning.pytorch as pl
import pytest
import torch
from run_files import changed, parts_of, step_of
from test_methods import STEPS, batches, config_for
from torch.utils._python_dispatch import TorchDispatchMode

from genrev.errors import GenrevError
from genrev.models.devices import repeatable_kernels
from genrev.training import Batch, Step, train
from genrev.training.steps.finite import Finiteness
from genrev.training.steps.graphs import CudaRecorder

AFFINE = {"network": {"coupling": "affine", "scaling": True}}
MIXTURE = {"prior": {"kind": "mixture", "active_dims": 6}}
FLOW = {"prior": {"kind": "flow", "active_dims": 6, "layers": 2, "hidden": 8}}
TOLD = {"network": {"context": 10}}
JET = {"network": {"kind": "jet", "preset": "jet8", "couplings": 3}}
REVNET = {
    "network": "digits",
    "prior": {"active_dims": 6},
    "method": {"stochastic": False},
}
SHARP = {
    "criterion": "none",
    "image_patches": 0.5,
    "image_adversary": 0.5,
    "image_start": 0.5,
    "image_width": 4,
}
# What a step may launch at most, over all its turns: forward, backward and the optimiser; no views.
STEPS_ON_DEVICE = {
    "adversarial": ("matching", {}, 560),
    "sliced": ("matching", {"method": {"criterion": "sliced"}}, 550),
    "mmd-imq": ("matching", {"method": {"criterion": "mmd-imq"}}, 720),
    "mixture": ("matching", {"method": {"criterion": "none"}, **MIXTURE}, 545),
    "sharp": ("matching", {"method": SHARP, **MIXTURE}, 1100),
    "muon": (
        "matching",
        {"method": {"criterion": "none"}, "optimizer": {"kind": "muon"}, **MIXTURE},
        570,
    ),
    "flow": ("matching", {"method": {"criterion": "none"}, **FLOW}, 545),
    "conditional mixture": ("matching", {"method": {"criterion": "none"}, **MIXTURE, **TOLD}, 900),
    "conditional likelihood": ("likelihood", TOLD, 600),
    "vae": ("baseline", {"method": {"variant": "vae"}}, 360),
    "wae-mmd": ("baseline", {"method": {"variant": "wae-mmd"}}, 495),
    "wae-gan": ("baseline", {}, 520),
    "likelihood": ("likelihood", {}, 420),
    "affine likelihood": ("likelihood", AFFINE, 570),
    "likelihood of a Jet": ("likelihood", JET, 1100),
    "flow-gan": ("flow-gan", AFFINE, 840),
    "age": ("age", {}, 310),
    "ali": ("bigan", {}, 750),
    "bigan": ("bigan", REVNET, 2150),
}


OF_THIS_TORCH = 1.05 if torch.__version__ < (2, 8) else 1  # 2.7 launches up to 4 % more


class Watch(TorchDispatchMode):
    """Counts operations, and fails on those that make the host wait or cross devices."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        name = str(function)
        tensors = torch.utils._pytree.tree_leaves((args, kwargs, results))
        tensors = [t for t in tensors if isinstance(t, torch.Tensor)]
        if any(word in name for word in ("_local_scalar_dense", "nonzero", "equal.default")):
            assert all(t.device.type == "cpu" for t in tensors), f"{name} waits for the device"
            return results
        # A number on the host goes along with the launch.
        assert all(t.device.type != "cpu" for t in tensors if t.dim()), f"{name} is on the host"
        aliases = [given.alias_info for given in function._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in aliases)
        self.count += not is_view
        return results


@pytest.fixture
def autocast_on_meta(monkeypatch):
    """Autocast knows no meta; there it is that of the CPU."""
    real = torch.autocast

    def autocast(device, *rest, **settings):
        return real("cpu" if device == "meta" else device, *rest, **settings)

    monkeypatch.setattr(torch, "autocast", autocast)


def on_meta(config):
    data, model, method = parts_of(config)
    model.to("meta"), method.to("meta")
    return Step(model, method, config.optimizer, config.seed, config.trainer.max_steps, data)


@pytest.mark.parametrize("name", STEPS_ON_DEVICE)
@pytest.mark.usefixtures("autocast_on_meta")
def test_a_step_neither_waits_for_the_device_nor_copies(name):
    method, sections, most = STEPS_ON_DEVICE[name]
    config = changed(config_for(method), **sections)
    step, seen = on_meta(config), set()
    assert step.method.on_device
    images = torch.empty(40, 1, 8, 8, device="meta")
    labels = torch.zeros(40, dtype=torch.int64, device="meta")
    for number in range(STEPS):
        step.begin(number)
        batch = Batch(images, labels, number, step.phase(number).name)
        noise = step.noise(batch)
        turn = batch.phase, step.trains_model(number)
        if turn not in seen:  # the first one finds out what noise is needed
            step.update(batch, noise)
            seen.add(turn)
            continue
        with Watch() as watch:
            step.update(batch, noise)
        assert watch.count <= OF_THIS_TORCH * most, f"{turn} launches {watch.count}"


def test_a_step_of_your_own_loop_does_not_wait_for_labels_that_it_makes_up(monkeypatch):
    step = on_meta(config_for("likelihood"))
    monkeypatch.setattr(step, "noise", lambda batch: None)  # which comes from the host
    monkeypatch.setattr(step, "update", lambda batch, noise: batch)
    with Watch():
        batch = step(torch.empty(40, 1, 8, 8, device="meta"))
    assert batch.labels.shape == (40,)


@pytest.mark.parametrize("name", ["transport", "semi"])
def test_what_needs_the_host_says_so(name):
    step = step_of(config_for(name))
    assert "computes on the host as well" in step.why_no_graph()


class StandIn:
    """Records a step by keeping the function; a replay runs it and fills the outcome."""

    def __init__(self, fails=False):
        self.fails = fails
        self.recorded = self.replayed = 0

    def record(self, function):
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        self.recorded += 1
        outcome = {}, []

        def replay():
            self.replayed += 1
            parts, late = function()
            outcome[0].update(parts)
            outcome[1][:] = late

        return outcome, replay


def trained(config, recorder=None, device="cpu"):
    data, model, method = parts_of(config)
    model.to(device), method.to(device)
    step = Step(model, method, config.optimizer, config.seed, STEPS * 3, data, None, recorder)
    losses = [
        step(images.to(device), labels.to(device), number)
        for number, (images, labels) in enumerate(batches(config, data, method))
    ]
    return losses, model.state_dict()


@pytest.mark.parametrize("name", STEPS_ON_DEVICE)
def test_graphs_change_nothing(name):
    method, sections, _ = STEPS_ON_DEVICE[name]
    config = changed(config_for(method), trainer={"max_steps": STEPS * 3}, **sections)
    recorder = StandIn()
    torch.testing.assert_close(trained(config, recorder), trained(config), rtol=0, atol=0)
    assert recorder.recorded >= 1
    assert recorder.replayed >= STEPS


def test_a_step_that_cannot_be_recorded_runs_as_it_is():
    config = config_for("likelihood")
    with pytest.warns(UserWarning, match=r"could not be recorded \(operation not permitted when"):
        found = trained(config, StandIn(fails=True))
    torch.testing.assert_close(found, trained(config), rtol=0, atol=0)


def test_other_batches_and_engines_are_recorded_anew():
    config, recorder = config_for("likelihood"), StandIn()
    data, model, method = parts_of(config)
    step = Step(model, method, config.optimizer, 0, 100, data, None, recorder)
    sizes = [40] * 6 + [20] * 6
    for number, n in enumerate(sizes):
        step(torch.rand(n, 1, 8, 8), None, number)
    assert recorder.recorded == 2
    model.net.set_engine(model.net.engine.replace(memory="stored"))
    for number in range(len(sizes), len(sizes) + 6):
        step(torch.rand(40, 1, 8, 8), None, number)
    assert recorder.recorded == 3


@pytest.mark.parametrize("bad", [3, 15, 17, 40])
def test_a_loss_that_is_not_finite_is_told_with_its_step_before_anything_is_written(bad):
    """As on a device: noted, looked at every few steps and when it is settled."""
    noted, losses = Finiteness(), [torch.tensor(1.0 if n != bad else torch.nan) for n in range(41)]

    def train():
        for number, loss in enumerate(losses):
            noted.note({"loss": loss, "clamp": loss}, [], number, bool)
        noted.settle()

    with pytest.raises(GenrevError, match=rf"The clamp loss .* at step {bad}, "):
        train()


def test_a_step_keeps_its_rates_when_the_optimiser_moves():
    """What Adam counts, and its rates, are numbers again when a run leaves a CUDA device."""
    step = step_of(config_for("likelihood"))
    step(torch.rand(40, 1, 8, 8), None, 0)
    (optimizer,) = step.optimizers
    before = copy.deepcopy(optimizer.state_dict())
    for group in optimizer.param_groups:  # as it is after steps on CUDA
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)
        group["fused"], group["capturable"] = True, True
    optimizer.suit(torch.device("cpu"))
    assert optimizer.state_dict()["param_groups"] == [
        {**group, "fused": None, "capturable": False} for group in before["param_groups"]
    ]


@pytest.mark.gpu
@pytest.mark.parametrize("name", STEPS_ON_DEVICE)
def test_graphs_change_nothing_on_cuda(name):
    method, sections, _ = STEPS_ON_DEVICE[name]
    config = changed(config_for(method), trainer={"max_steps": STEPS * 3}, **sections)
    with repeatable_kernels():  # as training does
        graphs, eager = trained(config, CudaRecorder(), "cuda"), trained(config, None, "cuda")
    torch.testing.assert_close(graphs, eager, rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("name", STEPS_ON_DEVICE)
def test_no_step_adds_up_in_any_order_on_cuda(name, monkeypatch):
    method, sections, _ = STEPS_ON_DEVICE[name]
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or products are refused, too
    torch.use_deterministic_algorithms(True)
    try:
        trained(changed(config_for(method), trainer={"max_steps": 12}, **sections), None, "cuda")
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_recording_does_not_hold_what_losses_were_computed_from():
    """Or weights would keep the streams that their gradients had while it was recorded."""

    class Keeps:
        def record(self, function):
            self.parts, late = function()
            return (self.parts, late), lambda: None

    config, recorder = config_for("likelihood"), Keeps()
    data, model, method = parts_of(config)
    step = Step(model, method, config.optimizer, 0, 100, data, None, recorder)
    for number in range(6):
        step(torch.rand(40, 1, 8, 8), None, number)
    assert recorder.parts
    assert not any(part.requires_grad for part in recorder.parts.values())


@pytest.mark.parametrize("settings", [{}, {"tf32": False}, {"exact": True, "memory": "stored"}])
def test_tf32_is_for_the_training_alone(tmp_path, monkeypatch, settings):
    seen = []
    fit = pl.Trainer.fit

    def watched(*arguments, **keywords):
        seen.append(torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32)
        return fit(*arguments, **keywords)

    monkeypatch.setattr(pl.Trainer, "fit", watched)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    config = changed(config_for("matching"), engine=settings, trainer={"max_steps": 3})
    train(config, tmp_path / "run")
    assert seen == [not settings]
    assert before == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
