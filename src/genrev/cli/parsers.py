"""What commands take, but for `train` and `search`, whose keys are not argparse's business.

PyTorch takes seconds to import and nothing here needs it, so help and a wrong line are answered at
once. So names that registries have are written down here once more, and a test compares them.
"""

import argparse
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from pathlib import Path

from genrev.cli.device import add_device
from genrev.cli.terminal import add_flag, add_json, add_path, name_or_path, to_path
from genrev.registry import plugins_loaded
from genrev.sharing.shipped import shipped_models
from genrev.words import LARGEST_SEED, spelled

BENCHMARKS = ("engine", "train", "transport", "data", "gpu", "table1")
PRIORS = ("mixture", "flow", "flow-matching")
METRICS = (
    *("inversion", "reconstruction", "latent", "frechet", "kid", "prdc", "accuracy"),
    *("memorisation", "likelihood", "classification"),
)
SOURCES = (
    *("digits", "mnist", "celeba", "hub:owner/name", "folder/"),
    *(".parquet", ".tar", ".npz"),
)
DISTANCES = ("frechet", "kid", "prdc")
DIRECTIONS = ("encode", "decode", "sample")
FORMATS = (".safetensors", ".pt2", ".onnx")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".pdf")


def configure_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=to_path, metavar="RUN", help="folder of the interrupted run")
    what = (
        "go on to this step, after a run that is finished too; phases and schedule are then those "
        "of the longer run. Nothing else that a run learns from can be changed here"
    )
    parser.add_argument("--trainer.max_steps", type=int, metavar="N", dest="steps", help=what)
    what = "where to go on: auto, cpu, cuda or mps (default: as the run began)"
    parser.add_argument("--device", metavar="NAME", help=what)
    what = "TorchScript features that the run names and that may run here; needed once on a machine"
    add_path(parser, "--trust", "FILE", f"{what} where the run was not started")


def configure_recipes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="RECIPE", help="print the keys of this one")
    add_json(parser)


def configure_sample(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    _add_n(parser, "number of samples", 64)
    _add_seed(parser, "seed of the noise")
    _add_label(parser)
    _add_out(parser, "samples.png")
    parser.set_defaults(out=None)  # no picture where only files of samples are asked for
    what = "also write the samples as uint8 `images` (n, C, H, W) and int64 `labels` (n,)"
    add_path(parser, "--npz", "FILE", what)
    what = (
        "write single images, 0000.png and so on, into an empty folder; they are the samples that "
        "`genrev evaluate` measures, and labels.csv has the classes"
    )
    add_path(parser, "--folder", "DIR", what)
    add_flag(parser, "--replace", "put the images in the place of earlier samples in --folder")
    add_device(parser)


def configure_reconstruct(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    _add_images(parser, "image files or folders of them")
    _add_n(parser, "how many of --data", 16)
    _add_out(parser, "reconstructions.png")
    add_device(parser)


def configure_interpolate(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    _add_images(parser, "an even number of image files, pair by pair")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of --data (default: 5)")
    parser.add_argument("--steps", type=int, default=8, help="images on a walk (default: 8)")
    add_flag(parser, "--full", "in the full latent space instead of the restricted")
    _add_out(parser, "interpolations.png")
    add_device(parser)


def configure_traverse(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    _add_label(parser)
    _add_data(parser)
    _add_dims(parser, "latent dimensions", ", or the widest of --label")
    _add_seed(parser, "of random dimensions")
    parser.add_argument("--steps", type=int, help="images along a dimension (default: 9)")
    what = "standard deviations (default: 3; 2 for all classes together and for --plane)"
    parser.add_argument("--extent", type=float, help=what)
    what = "one plane of two dimensions instead of one row per dimension (default: 8 steps)"
    add_flag(parser, "--plane", what)
    what = "start from this image, not from the mean"
    add_path(parser, "--image", "FILE", what, type=name_or_path)
    _add_out(parser, "traversals.png")
    add_device(parser)


def configure_figures(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    _add_data(parser)
    _add_seed(parser)
    _add_dims(parser, "latent dimensions to traverse")
    add_path(parser, "--out", "FOLDER", "where to (default: RUN/figures)")
    add_device(parser)


def _to_picture(text: str) -> Path:
    """The type of a picture's path, refused before anything is drawn for it."""
    path = to_path(text)
    if path.suffix.lower() not in PICTURES:
        raise argparse.ArgumentTypeError(
            f"the name {path.name!r} does not end in one of {', '.join(PICTURES)}"
        )
    return path


def _add_out(parser: argparse.ArgumentParser, name: str) -> None:
    add_path(
        parser,
        "--out",
        "FILE",
        f"picture to write (default: {name})",
        default=Path(name),
        type=_to_picture,
    )


def _add_label(parser: argparse.ArgumentParser) -> None:
    what = "class by name or number; by default all classes"
    parser.add_argument("--label", metavar="CLASS", help=what)


def _add_dims(parser: argparse.ArgumentParser, what: str, or_else: str = "") -> None:
    what += (
        "; by default five at random (Figure 9), of a model with classes the three that are "
        f"widest on average over them (Figure 12){or_else}"
    )
    parser.add_argument("--dims", type=int, nargs="+", metavar="DIM", help=what)
    what = "of a model without classes: the eight dimensions that are widest, in place of five at "
    add_flag(parser, "--widest", what + "random")


def _add_images(parser: argparse.ArgumentParser, what: str) -> None:
    """The options --images and --data, one of which says what a command is shown."""
    what += "; by default images of --data"
    add_path(parser, "--images", "FILE", what, type=name_or_path, nargs="+")
    _add_data(parser)


def configure_app(parser: argparse.ArgumentParser) -> None:
    what = (
        "run folders, model folders, hub ids owner/name or shipped models, to be switched between "
        "on the page; by default the shipped mnist"
    )
    add_path(parser, "models", "RUN_OR_MODEL", what, type=name_or_path, nargs="*")
    parser.add_argument("--port", type=int, help="port on 127.0.0.1 (default: from 7860 on)")
    add_flag(parser, "--share", "also make a public address, through a tunnel of gradio's makers")
    what = (
        f"where the images to try come from: {_spellings()}; by default each run's own data, and "
        "samples of the model where that is not on this machine"
    )
    add_path(parser, "--data", "NAME", what, type=name_or_path)
    _add_on_error(parser)
    add_device(parser)


def configure_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    _add_data(parser)
    names = ", ".join(_names("evaluation.metric:METRICS", METRICS))
    what = f"comma-separated, of {names} (default: all that suit "
    parser.add_argument("--metrics", help=f"{what}every model; some need labels or --features)")
    _add_n(parser, "samples", 10_000)
    _add_reference(parser)
    _add_seed(parser)
    add_device(parser)
    add_json(parser)


def configure_compare(parser: argparse.ArgumentParser) -> None:
    what = "run folders, as for evaluate"
    add_path(parser, "runs", "RUN", what, type=name_or_path, nargs="+")
    _add_data(parser)
    add_path(parser, "--out", "DIR", "where to write", required=True)
    _add_n(parser, "samples per model and seed", 10_000)
    _add_reference(parser)
    parser.add_argument("--seeds", type=int, default=3, help="sampling seeds (default: 3)")
    add_device(parser)
    add_json(parser)


def configure_distance(parser: argparse.ArgumentParser) -> None:
    what = (
        "a run folder, of which samples are drawn, or model:NAME of a model that comes with genrev "
        f"or is on the hub; or {_spellings()}"
    )
    add_path(parser, "a", "A", what, type=name_or_path)
    add_path(parser, "b", "B", "the same: what A is compared with", type=name_or_path)
    what = (
        "fid (extra `fid`), digits or mnist (classifiers that come with genrev), or a TorchScript "
        "module from uint8 (N, C, H, W) to (N, D); by default the classifier of what has labels"
    )
    add_path(parser, "--features", "FILE", what, type=name_or_path)
    names = ", ".join(DISTANCES)
    parser.add_argument("--metrics", help=f"comma-separated, of {names} (default: all)")
    _add_n(parser, "samples of a run", 10_000)
    what = "which split, of both or one of each (default: test, or train where there is none)"
    parser.add_argument("--split", nargs="+", metavar="SPLIT", help=what)
    what = (
        "resize all images first, for folders of several sizes: the side of squares, or height and "
        "width"
    )
    parser.add_argument("--image_size", type=int, nargs="+", metavar="SIDE", help=what)
    parser.add_argument("--channels", type=int, help="1 (grey) or 3 (RGB) for all images")
    _add_on_error(parser)
    _add_seed(parser, "seed of samples and subsets")
    add_device(parser)
    add_json(parser)


def _add_reference(parser: argparse.ArgumentParser) -> None:
    """The options that say what samples are compared with, and in which features."""
    what = (
        "TorchScript module from uint8 (N, C, H, W) to (N, D), `fid` for the 2,048 features of FID "
        "(extra `fid`), or `digits` or `mnist` for classifiers that come with genrev; by default a "
        "classifier that genrev trains on the labels of the data"
    )
    add_path(parser, "--features", "FILE", what, type=name_or_path)
    parser.add_argument(
        "--split",
        help="reference images: a split, or `all` for the entire data set, of which the paper "
        "reports the inversion error (default: test, or train where there is none)",
    )
    what = "use N reference images, spread evenly over the split (default: all)"
    parser.add_argument("--references", type=int, metavar="N", help=what)


def configure_fit_prior(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    _add_data(parser)
    kinds = (
        "a mixture of Gaussians, a flow of spline couplings, or one that learns by flow matching, "
        "which has the best samples of about a hundred dimensions (default: mixture)"
    )
    parser.add_argument("--kind", choices=PRIORS, default="mixture", help=kinds)
    add = partial(parser.add_argument, default=None)
    add("--components", type=int, help="mixture: Gaussians in every class (default: 10)")
    add("--covariance", choices=("full", "diag"), help="mixture: of each (default: full)")
    layers = "flow: couplings (default: 6); flow-matching: residual blocks (default: 4)"
    add("--layers", type=int, help=layers)
    hidden = "flow, flow-matching: width of their networks (default: 128, 384)"
    add("--hidden", type=int, help=hidden)
    steps = "flow: most steps, ends when it gains no more (default: 10000); flow-matching: steps"
    add("--steps", type=int, help=f"{steps} (default: 5000)")
    what = "fit one density for every class of the data, where the prior of the model has none"
    add_flag(parser, "--by-class", what)
    _add_seed(parser, "seed of the fit")
    add_path(parser, "--out", "FOLDER", "model folder (default: RUN/prior-KIND)")
    add_device(parser)
    add_json(parser)


def configure_export(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    what = f"what to write; its extension, one of {', '.join(FORMATS)}, says which format"
    add_path(parser, "--to", "FILE", what, required=True)
    parser.add_argument(
        "--direction",
        choices=DIRECTIONS,
        help="write this one into FILE itself; by default FILE.encode.onnx and FILE.decode.onnx "
        "(or .pt2) are written next to each other",
    )
    add_json(parser)


def configure_push(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("repository", metavar="OWNER/NAME", help="where to on the hub")
    parser.add_argument("--private", action="store_true", help="for the owner's eyes only")
    parser.add_argument(
        "--licence",
        metavar="ID",
        help="of the weights, by the hub's identifier (mit, cc-by-4.0, ...); by default none is "
        "stated",
    )
    what = "what `genrev evaluate RUN --json` printed, for the card"
    add_path(parser, "--evaluation", "FILE", what)
    _add_seed(parser)
    what = "write what would be uploaded into this new folder, and send nothing"
    add_path(parser, "--dry-run", "FOLDER", what)


def configure_bench(parser: argparse.ArgumentParser) -> None:
    what = (
        "what to measure: engine, train, transport and data are ratios to peers; gpu is everything "
        "that a card should be measured by, in one command; table1 trains the models of the "
        "paper's Table 1 at 64x64 for equal times, compares them and draws their figures, and "
        "goes on where it stopped when it is called again"
    )
    parser.add_argument("benchmark", choices=BENCHMARKS, help=what)
    parser.add_argument("--repeats", type=int, help="rounds (default: 5)")
    what = "engine: batch sizes of celeba64 (default: 32)"
    parser.add_argument("--batch", type=int, nargs="+", metavar="N", help=what)
    what = "engine: where to compute, cpu or cuda (default: cpu)"
    parser.add_argument("--device", metavar="NAME", help=what)
    what = "gpu: time for everything; table1: training time of each of the five models"
    parser.add_argument("--minutes", type=float, metavar="N", help=what)
    what = "table1: 64x64 faces, as for `genrev train`; images of another size are resized"
    add_path(parser, "--data", "NAME", what, type=name_or_path)
    what = "table1: samples per model and seed (default: 10000)"
    parser.add_argument("-n", "--n", type=int, help=what)
    what = "table1: features of the distances, as for `genrev compare`"
    add_path(parser, "--features", "FILE", what, type=name_or_path)
    what = "engine: plot of memory and time against depth; gpu, table1: folder of all results"
    add_path(parser, "--out", "PATH", what)
    add_json(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    """The positional argument RUN."""
    shipped = ", ".join(shipped_models())
    what = f"run folder, model folder, hub id owner/name, or a shipped model: {shipped}"
    add_path(parser, "run", "RUN", what, type=name_or_path)


def _add_data(parser: argparse.ArgumentParser) -> None:
    """The options --data and --on_error."""
    what = f"{_spellings()}; by default the run's own data"
    add_path(parser, "--data", "NAME", what, type=name_or_path)
    _add_on_error(parser)


def given_data(options: argparse.Namespace) -> dict[str, str]:
    """What --data and --on_error set, as ``run_data`` takes it."""
    given = {"source": options.data, "on_error": options.on_error}
    return {name: value for name, value in given.items() if value is not None}


def _add_on_error(parser: argparse.ArgumentParser) -> None:
    """The option --on_error."""
    what = "go on without images that cannot be read (skip), or stop at the first one (raise)"
    parser.add_argument("--on_error", choices=("raise", "skip"), help=f"{what}, the default")


def _add_n(parser: argparse.ArgumentParser, what: str, default: int) -> None:
    """The option -n."""
    parser.add_argument("-n", "--n", type=int, default=default, help=f"{what} (default: {default})")


def _add_seed(parser: argparse.ArgumentParser, what: str = "seed of the samples") -> None:
    """The option --seed."""
    parser.add_argument("--seed", type=_seed, default=0, help=f"{what} (default: 0)")


def _seed(text: str) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid int value: {text!r}") from error
    if not 0 <= number <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 2^32 - 1 and is {number}")
    return number


def _spellings() -> str:
    return spelled(_names("data.sources:SOURCES", SOURCES))


def _names(registry: str, own: tuple[str, ...]) -> Iterable[str]:
    """What there is in a registry, ``module:NAME``: genrev's own, and those of plugins."""
    if not plugins_loaded():
        return own
    module, _, name = registry.partition(":")  # which the plugin has imported already
    names: list[str] = getattr(import_module(f"genrev.{module}"), name).names()
    return names
