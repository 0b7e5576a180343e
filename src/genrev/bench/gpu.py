"""What a card does with genrev, in one command and within its minutes.

The checks of the tests that need a card; the engine against plain autograd, checkpointing and other
libraries, as shares of what the card can do; training steps with their optimisers, captured and
not; memory against depth; samples and their features. Without a card everything runs on the CPU,
small, to see that it runs. ``results.json`` is written after every part.
"""

import gc
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import genrev
from genrev import evaluation
from genrev.bench import engine, gpu_report, train
from genrev.bench.engine_peers import Peer, images, missing_peers
from genrev.bench.gpu_checks import run_tests
from genrev.bench.measuring import peak_bytes, wait_for_gpu
from genrev.bench.parts import Clock, Found, Part, measure_parts, skip
from genrev.data import ImageData, load_images
from genrev.data.images import fingerprint
from genrev.errors import GenrevError
from genrev.evaluation import Classifier, ClassifierFeatures, FeatureExtractor, TorchScriptFeatures
from genrev.files.writing import write_text
from genrev.models import GenerativeModel
from genrev.models.checks import require_images
from genrev.models.devices import tf32
from genrev.networks import PRESETS, RevNet, RevNetConfig
from genrev.priors import ActiveGaussian
from genrev.reversible import Engine, Memory
from genrev.training.run.folder import describe_environment

RESULTS, REPORT, PLOT = "results.json", "results.md", "plot.png"
FEATURES = "inception/inception768.pt"  # in the folder of GENREV_DATA
_DEEP_SCALE = 0.3  # of the weights of the networks for memory against depth
_BEGINNING = 0.6  # of the time of a comparison, until which a candidate may begin


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    network: RevNetConfig
    batches: tuple[int, ...]  #: Images a step, of which training takes the first.
    precisions: tuple[str, ...]
    repeats: int
    product: int  #: Side of the matrices that are multiplied.
    copied: int  #: Bytes that are copied.
    depths: tuple[int, ...]  #: Couplings.
    deep_batch: int
    samples: int


ON_GPU = Sizes(
    network=PRESETS["celeba64"],
    batches=(250, 1000),
    precisions=("float32", "tf32", "bf16"),
    repeats=8,
    product=8192,
    copied=2**30,
    depths=(1, 2, 4, 8, 16, 32, 64),
    deep_batch=64,
    samples=10_000,
)
ON_CPU = Sizes(
    network=RevNetConfig(
        image_size=16, channels=3, hidden_channels=(8, 8), blocks=(1, 1), kernel_sizes=(3, 3)
    ),
    batches=(4, 8),
    precisions=("float32", "bf16"),
    repeats=1,
    product=256,
    copied=2**22,
    depths=(1, 2, 4),
    deep_batch=4,
    samples=40,
)


def run(minutes: float, out: Path, device: str | None = None) -> Found:
    """Measure everything that the minutes allow; also written to ``out``, which is made.

    Args:
        minutes: for all parts together.
        out: folder of ``results.json``, ``results.md`` and ``plot.png``.
        device: cpu or cuda; by default cuda where it is.

    Returns:
        What ``results.json`` has.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    here = torch.device(device)
    out.mkdir(parents=True, exist_ok=True)
    bench = _Bench(here, ON_GPU if here.type == "cuda" else ON_CPU)
    result: Found = {
        "benchmark": "gpu",
        "version": genrev.__version__,
        "environment": describe_environment(0),
        "machine": engine.machine(device),
        "minutes": minutes,
    }
    parts = {
        "ceilings": Part(5, bench.ceilings),
        "checks": Part(25, bench.checks),
        "engine": Part(25, bench.engine),
        "training": Part(20, bench.training),
        "memory": Part(15, bench.memory),
        "evaluation": Part(15, bench.evaluation),
    }
    measure_parts(parts, minutes, result, partial(_write, out))
    try:
        gpu_report.plot(result, out / PLOT)
    except Exception as error:  # what was measured is worth more than its picture
        result["plot"] = f"not drawn: {error}"
        _write(out, result)
    return result


format_result = gpu_report.markdown


def _write(out: Path, result: Found) -> None:
    write_text(out / RESULTS, json.dumps(result, indent=1, allow_nan=False) + "\n")
    write_text(out / REPORT, gpu_report.markdown(result) + "\n")


class _Bench:
    """The parts, which write what they find into a dictionary."""

    def __init__(self, device: torch.device, sizes: Sizes) -> None:
        self.device = device
        self.sizes = sizes
        self.products: dict[str, float] = {}  # operations a second, by precision
        self.copies: float | None = None  # bytes a second, read and written

    def ceilings(self, found: Found, clock: Clock) -> None:
        """What the device does at most: a large product, and a copy."""
        n = self.sizes.product
        for precision in self.sizes.precisions:
            number_format = torch.bfloat16 if precision == "bf16" else torch.float32
            a = torch.randn(n, n, device=self.device).to(number_format)
            b, c = a.clone(), a.clone()
            with tf32(precision == "tf32"):
                seconds = _fastest(partial(torch.mm, a, b, out=c))
            self.products[precision] = 2 * n**3 / seconds
        source = torch.ones(self.sizes.copied, dtype=torch.uint8, device=self.device)
        self.copies = 2 * self.sizes.copied / _fastest(partial(source.clone().copy_, source))
        found["tflops"] = {name: rate / 1e12 for name, rate in self.products.items()}
        found["copy_gb_s"] = self.copies / 1e9
        found["product_side"], found["copied_bytes"] = n, self.sizes.copied

    def checks(self, found: Found, clock: Clock) -> None:
        """The tests that need a card."""
        if self.device.type != "cuda":
            skip(found, "the tests marked gpu: they need a CUDA device")
        else:
            run_tests(found, clock.left)

    def engine(self, found: Found, clock: Clock) -> None:
        """A step of phase 1 without an optimiser, all engines and peers."""
        sizes, found["rows"], found["missing"] = self.sizes, [], missing_peers()
        for number, batch in enumerate(sizes.batches):
            if clock.skips(found, f"batch {batch:,}"):
                break
            part = Clock(clock.left / (len(sizes.batches) - number))
            beginning = Clock(_BEGINNING * part.left)
            row = engine.compare(
                sizes.network, batch, sizes.repeats, str(self.device), sizes.precisions,
                precisely=number == 0, is_over=part.is_over, is_late=beginning.is_over,
            )  # fmt: skip
            found["rows"].append(row)
            self._free()
            if not clock.skips(found, f"shares of the device at batch {batch:,}"):
                self._shares(row)
            self._free()

    def _shares(self, row: Found) -> None:
        """How much of the device each candidate uses, from what its step has to do."""
        work = engine.work(
            self.sizes.network, row["batch"], str(self.device), self.sizes.precisions
        )
        row["step_tflop"] = work.operations / 1e12
        for name, candidate in row["candidates"].items():
            precision = name.rpartition(", ")[2] if ", " in name else "float32"
            seconds, moved = candidate.get("seconds"), work.traffic.get(name)
            if seconds and precision in self.products:
                rate = work.operations / seconds
                candidate["share_of_products"] = rate / self.products[precision]
            if seconds and moved and self.copies:
                candidate["step_gb"] = moved / 1e9
                candidate["share_of_copies"] = moved / seconds / self.copies

    def training(self, found: Found, clock: Clock) -> None:
        """Steps with their optimisers, captured and not: both phases, and large batches in one."""
        torch.manual_seed(0)
        net = RevNet(self.sizes.network).to(self.device)
        first, *larger = self.sizes.batches
        captured = self.device.type == "cuda"
        if not captured:
            skip(found, "captured steps: there is no CUDA device")
        low = self.sizes.precisions[-1]
        jobs = [(batch, low, "reconstruction") for batch in (first, *larger)]
        jobs.append((first, low, "adversarial"))
        others = reversed(self.sizes.precisions[:-1])
        jobs += [(first, precision, phase) for precision in others for phase in train.PHASES]
        work = engine.operations_per_image(self.sizes.network, str(self.device))
        found["rows"] = []
        for number, (batch, precision, phase) in enumerate(jobs):
            if clock.skips(found, f"batch {batch:,}, {phase} phase, {precision}"):
                continue
            part = Clock(clock.left / (len(jobs) - number))
            rows = train.measure(
                net, _trainings(precision, captured), phase, images(batch, net).to(self.device),
                self.sizes.repeats, part.is_over,
            )  # fmt: skip
            for row in rows.values() if phase == "reconstruction" else ():
                if "seconds" in row and precision in self.products:
                    rate = work * batch / row["seconds"]
                    row["share_of_products"] = rate / self.products[precision]
            found["rows"].append(
                {"batch": batch, "precision": precision, "phase": phase, "candidates": rows}
            )
            self._free()

    def memory(self, found: Found, clock: Clock) -> None:
        """Activations against depth; of affine couplings with a likelihood."""
        found["batch"], found["rows"] = self.sizes.deep_batch, []
        for blocks in self.sizes.depths:
            for coupling in ("additive", "affine"):
                if not clock.skips(found, f"{blocks} {coupling} couplings"):
                    found["rows"].append(self._deep(blocks, coupling))
                    self._free()

    def _deep(self, blocks: int, coupling: str) -> Found:
        config = RevNetConfig(
            image_size=32, channels=3, hidden_channels=(16,), blocks=(blocks,), kernel_sizes=(3,)
        ).replace(coupling=coupling)
        torch.manual_seed(0)
        net = RevNet(config).to(self.device)
        with torch.no_grad():  # or so many couplings blow numbers up, as no trained network does
            for weight in net.parameters():
                weight.mul_(_DEEP_SCALE)
        x = images(self.sizes.deep_batch, net).to(self.device)
        step = engine.phase_step(Peer(net.encode, net.decode), x)
        if coupling == "affine":
            step = partial(_likelihood_step, net, x)
        row: Found = {"blocks": blocks, "coupling": coupling}
        gradients: dict[Memory, Tensor] = {}
        modes: tuple[Memory, ...] = ("stored", "reversible")
        own = sum(p.numel() * p.element_size() for p in net.parameters())
        for memory in modes:
            net.set_engine(Engine(memory=memory))
            step()  # to warm up
            net.zero_grad(set_to_none=True)
            row[memory] = (peak_bytes(step, self.device) - own) / 2**20
            gradients[memory] = engine.gradient_of(net)
            net.zero_grad(set_to_none=True)
        stored = gradients["stored"]
        row["gradient_to_stored"] = float((gradients["reversible"] - stored).norm() / stored.norm())
        return row

    def evaluation(self, found: Found, clock: Clock) -> None:
        """Samples and their Fréchet distance; of an untrained model, which takes as long."""
        torch.manual_seed(0)
        net = RevNet(self.sizes.network)
        dims = torch.arange(min(64, net.latent_dim))
        model = GenerativeModel(net, ActiveGaussian(net.latent_dim, dims), ("all",))
        model = model.to(self.device).eval()
        shape = require_images(model.image_shape, "The bench measures")
        features = self._features(shape, found)
        n = self._affordable(model, features, found, clock)
        data = _reference(shape, n)
        start = time.perf_counter()
        evaluation.samples_as_stored(model, n, seed=0)
        sampled = time.perf_counter()
        report = evaluation.evaluate(model, data, ["frechet"], n, features, references=n)
        found |= {
            "samples": n,
            "sampling_seconds": sampled - start,
            "evaluation_seconds": time.perf_counter() - sampled,
            "frechet": report["frechet"],
        }

    def _affordable(
        self, model: GenerativeModel, features: FeatureExtractor, found: Found, clock: Clock
    ) -> int:
        """How many samples there is time for, by the time of some; all of them on most cards."""
        n, some = self.sizes.samples, min(1000, self.sizes.samples)
        for _ in range(3):  # the first two warm up: TorchScript compiles in them
            start = time.perf_counter()
            features(evaluation.samples_as_stored(model, some, seed=0)[0])
        # As many samples once more, and as many images of the reference.
        likely = 3 * n / some * (time.perf_counter() - start)
        if likely > clock.left:
            n = max(some, int(n * clock.left / likely))
            skip(found, f"more than {n:,} samples: no time was left")
        return n

    def _features(self, shape: tuple[int, int, int], found: Found) -> FeatureExtractor:
        """Inception's where its file is and can be read, or those of a classifier like ours."""
        file = _given(FEATURES)
        try:
            if file is not None:
                return TorchScriptFeatures(file, self.device)
            skip(found, f"features of Inception: GENREV_DATA has no {FEATURES}")
        except GenrevError as error:
            skip(found, f"features of {file}: {error}")
        torch.manual_seed(0)
        return ClassifierFeatures(Classifier(shape, 10).eval())

    def _free(self) -> None:
        """Give memory back that nobody holds any more, for whoever comes next."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _fastest(call: Callable[[], object], times: int = 10, rounds: int = 3) -> float:
    """Seconds a call, the best of some rounds."""
    call()
    seconds = []
    for _ in range(rounds):
        wait_for_gpu()
        start = time.perf_counter()
        for _ in range(times):
            call()
        wait_for_gpu()
        seconds.append((time.perf_counter() - start) / times)
    return min(seconds)


def _trainings(precision: str, captured: bool) -> dict[str, train.Candidate]:
    """Candidates of one precision; on CUDA as graphs, too."""
    ours = {
        "genrev stored": train.Candidate("stored", precision=precision),
        "genrev reversible": train.Candidate(precision=precision),
        "genrev exact": train.Candidate(exact=True, precision=precision),
    }
    graphs = {f"{name}, graph": one._replace(graph=True) for name, one in ours.items()}
    authors = {"authors": train.Candidate("stored", precision=precision, plain=True)}
    return authors | ours | (graphs if captured else {})


def _likelihood_step(net: RevNet, x: Tensor) -> None:
    """A gradient of maximum likelihood, up to constants."""
    z, log_det = net.encode_with_log_det(x)
    (z.square().sum(1) / 2 - log_det).mean().backward()


def _given(name: str) -> Path | None:
    """A file or folder of the data that GENREV_DATA names, where it is there."""
    folder = os.environ.get("GENREV_DATA")
    path = Path(folder or "", name)
    return path if folder and path.exists() else None


def _reference(shape: tuple[int, int, int], n: int) -> ImageData:
    """Test images of faces where they are and fit, or noise: it takes as long."""
    faces = _given("celeba64")
    if shape == (3, 64, 64) and faces is not None:
        return load_images(str(faces), "test")
    pixels = np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)
    labels = np.zeros(n, np.int64)
    return ImageData(pixels, labels, ("all",), "noise", fingerprint(pixels, labels))
