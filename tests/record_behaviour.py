"""Record what genrev computes, and compare two records: for changes that are to change nothing.

    python tests/record_behaviour.py record before.json     # at the old commit
    python tests/record_behaviour.py record after.json      # at the new one, on the same machine
    python tests/record_behaviour.py compare before.json after.json

A record holds, for every shipped recipe, the weights after 20 steps on small made-up data and one
thread (as a hash of every tensor), the printed results of ``evaluate`` and ``compare``, the samples
of the shipped models and the files of ``export``. Everything goes through the command line, so that
the code behind it may move; where an option gets another name, this script follows. Weights are
equal bit for bit only on one kind of processor, so no record is kept in the repository.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

os.environ["OMP_NUM_THREADS"] = "1"

STEPS = 20
OPTIONS = [
    f"--trainer.max_steps={STEPS}",
    "--trainer.threads=1",
    "--trainer.progress=false",
    "--trainer.accelerator=cpu",
    "--trainer.sample_every=1000",
]
IMAGES = 40  # of every class; enough for the widest mixture
SHAPES = {"mnist": (28, 28), "faces": (64, 64, 3)}


def write_images(root: Path) -> None:
    """Smooth noise with a stripe for every class, so that there is something to learn."""
    for name, shape in SHAPES.items():
        for split in ("train", "test"):
            for label in range(10):
                folder = root / name / split / (str(label) if name == "mnist" else "")
                folder.mkdir(parents=True, exist_ok=True)
                for number in range(IMAGES):
                    seed = [len(shape), split == "test", label, number]
                    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, *shape[2:]))
                    coarse[label % 4] = 25 * label
                    image = Image.fromarray(coarse.astype(np.uint8)).resize(shape[1::-1])
                    image.save(folder / f"{label}-{number}.png")


def options_of(recipe: str, data: Path) -> list[str]:
    """What makes a recipe small, by its name and by what its file says."""
    from genrev.recipes import read_recipe

    method = read_recipe(recipe)[1]["method"]
    steps = method.get("reconstruction_steps") if isinstance(method, dict) else None
    options = ["--batch_size=40" if "celeba" not in recipe else "--batch_size=4"]
    family = recipe.split("-")[0]
    if family != "digits":
        options.append(f"--data={data / ('mnist' if family == 'mnist' else 'faces')}")
    if steps:
        options.append(f"--method.reconstruction_steps={STEPS // 2}")
    if "mixture" in recipe:
        options.append("--prior.components=2")
    return options


def run(*arguments: object) -> tuple[int, str]:
    """Status and output of a command."""
    from genrev.cli.main import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as err:
        status = main([str(argument) for argument in arguments])
    return status, out.getvalue() or err.getvalue()


def hashes(weights: Path) -> dict[str, str]:
    """A short hash of every tensor in a file."""
    tensors = load_file(weights)
    return {
        name: f"{tensor.dtype}{tensor.shape} {hashlib.sha256(tensor.tobytes()).hexdigest()[:16]}"
        for name, tensor in sorted(tensors.items())
    }


def record(file: Path, only: list[str]) -> None:
    """Train, measure and export everything."""
    from genrev.recipes import recipe_names

    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        os.environ["GENREV_CACHE"] = str(root / "cache")
        write_images(root)
        for recipe in sorted(only or recipe_names()):
            out = root / "runs" / recipe
            status, said = run("train", recipe, *OPTIONS, *options_of(recipe, root), "--out", out)
            trained = (out / "model.safetensors").is_file()
            found[f"weights of {recipe}"] = (
                hashes(out / "model.safetensors") if trained else f"{status}: {said}"
            )
            print(recipe, "trained" if trained else said, flush=True)
        for model in ("mnist", root / "runs" / "digits", root / "runs" / "digits-vae"):
            if model == "mnist" or Path(model).is_dir():
                found |= commands(str(model), root)
    text = json.dumps(found, indent=1, sort_keys=True).replace(place, "PLACE")
    file.write_text(text + "\n", encoding="utf-8")


def commands(model: str, root: Path) -> dict[str, object]:
    """What the commands print and write of a model."""
    name = Path(model).name
    samples, exported = root / f"{name}.npz", root / f"{name}.onnx"
    found: dict[str, object] = {
        f"sample {name}": run("sample", model, "-n", 20, "--npz", samples),
        f"export {name}": run("export", model, "--to", exported),
    }
    if name == "mnist":  # made-up images have no classifier, and to train one takes minutes
        measured = ["--data", root / "mnist", "--metrics", "inversion,reconstruction,latent"]
        found[f"evaluate {name}"] = run("evaluate", model, *measured)
    else:
        table = root / f"{name}-table"
        found[f"evaluate {name}"] = run("evaluate", model, "-n", 100)
        status, said = run("compare", model, "-n", 50, "--seeds", 2, "--out", table)
        found[f"compare {name}"] = status, re.sub(r"\| \d+ (s|min) \|", "| time |", said)
    with np.load(samples) as stored:
        found[f"samples of {name}"] = hashlib.sha256(stored["images"].tobytes()).hexdigest()
    found[f"files of the export of {name}"] = sorted(p.name for p in root.glob(f"{name}*.onnx"))
    return found


def compare(before: Path, after: Path) -> int:
    """Print what differs; 0 if nothing does."""
    old, new = (json.loads(file.read_text(encoding="utf-8")) for file in (before, after))
    different = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    for key in different:
        print(f"{key}:")
        one, other = old.get(key), new.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            names = [n for n in sorted({*one, *other}) if one.get(n) != other.get(n)]
            print(f"  {len(names)} of {len({*one, *other})} tensors differ, first {names[0]}")
        else:
            print(f"  before: {one}\n  after:  {other}")
    print(f"{len(different)} of {len({*old, *new})} entries differ")
    return int(bool(different))


def main() -> int:
    """Parse the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("file", type=Path)
    recording.add_argument("--only", nargs="+", default=[], metavar="RECIPE")
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.command == "record":
        record(options.file, options.only)
        return 0
    return compare(options.before, options.after)


if __name__ == "__main__":
    raise SystemExit(main())
