"""The commands that pass a model on: `export` for other software, `push` for the hub."""

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from genrev.cli.terminal import print_result, waiting
from genrev.data import local_path
from genrev.errors import GenrevError
from genrev.evaluation import METRICS, format_report
from genrev.export import Exported, export
from genrev.figures import sample_sheet, save_image
from genrev.files.paths import quoted, writing
from genrev.files.readers import read_json_object
from genrev.files.writing import replacing
from genrev.models import load
from genrev.models.checks import require_images
from genrev.models.saving import model_folder
from genrev.recipes import read_run_config
from genrev.sharing.card import SAMPLES_FILE, CardNotes
from genrev.sharing.hub import upload
from genrev.training import RunConfig, RunFolder

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*", re.ASCII)
_LARGEST_JSON = 2**24  # bytes


def run_export(options: argparse.Namespace) -> None:
    with waiting(f"writing and checking {options.to}"):
        written = export(load(options.run), options.to, options.direction)
    values = [{**asdict(file), "path": str(file.path)} for file in written]
    print_result(options, values, "\n".join(map(_told, written)))


def _told(file: Exported) -> str:
    """One line about a file that was written."""
    if file.direction is None:
        return f"wrote {file.path} (weights, with the configuration in the metadata)"
    opset = "" if file.opset is None else f", opset {file.opset}"
    return (
        f"wrote {file.path} ({', '.join(file.inputs)} -> {file.output}{opset}); largest difference "
        f"to the model {file.difference:.1e}, allowed {file.tolerance:.1e}"
    )


def run_push(options: argparse.Namespace) -> None:
    if not _REPOSITORY.fullmatch(options.repository):
        raise GenrevError(f"{options.repository!r} is no name on the hub; write owner/name.")
    if options.licence is not None and not _LICENCE.fullmatch(options.licence):
        raise GenrevError(
            f"--licence {options.licence!r} is no identifier of the hub; write one such as mit, "
            "apache-2.0 or cc-by-4.0."
        )
    with _folder(options.dry_run) as folder:
        _write(options, folder)
        if options.dry_run is None:
            print(f"pushed to {upload(folder, options.repository, private=options.private)}")
            return
        names = ", ".join(sorted(path.name for path in folder.iterdir()))
    print(f"wrote {options.dry_run} ({names}); nothing was sent")


def _write(options: argparse.Namespace, folder: Path) -> None:
    numbers = None if options.evaluation is None else _numbers(options.evaluation)
    model = load(options.run)
    require_images(model.image_shape, "genrev push takes", "upload it with push_to_hub in Python")
    run = RunFolder(model_folder(options.run))
    config = _without_paths(read_run_config(run.path)) if run.config.is_file() else None
    notes = CardNotes(options.licence, numbers, config, _versions(run.environment), samples=True)
    card = {"repository": options.repository, "notes": notes}
    model.save_pretrained(folder, model_card_kwargs=card)
    n = 10 * model.num_classes if model.num_classes > 1 else 64
    save_image(sample_sheet(model, n, seed=options.seed), folder / SAMPLES_FILE)


@contextmanager
def _folder(chosen: Path | None) -> Iterator[Path]:
    """Where to write: a temporary folder, or the one of --dry-run when all went well."""
    if chosen is None:
        with (
            writing(Path(gettempdir()), "set the environment variable TMPDIR to another folder"),
            TemporaryDirectory() as temporary,
        ):
            yield Path(temporary)
        return
    if chosen.exists() and (not chosen.is_dir() or any(chosen.iterdir())):
        raise GenrevError(f"{chosen} exists already and is kept as it is; name a new folder.")
    with writing(chosen, "name another folder with --dry-run"):
        chosen.parent.mkdir(parents=True, exist_ok=True)
        with replacing(chosen) as folder:
            folder.mkdir()
            yield folder


def _numbers(file: Path) -> str:
    try:
        results = read_json_object(file, _LARGEST_JSON)
        if any(name in METRICS for name in results):
            return format_report(results)
        cause = None
    except OSError as error:
        raise GenrevError(f"{file} cannot be read ({error.strerror}).") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        cause = error
    raise GenrevError(
        f"{file} has no results of {', '.join(METRICS.names())}; write it with "
        f"`genrev evaluate RUN --json > {quoted(file)}`."
    ) from cause


def _without_paths(config: RunConfig) -> dict[str, Any]:
    """The resolved configuration without what tells of this machine only."""
    values = config.plain()
    if local_path(config.data.source) is not None:
        values["data"]["source"] = "(local files)"
    del values["data"]["cache"]
    for section in values.values():
        for name, value in section.items() if isinstance(section, dict) else ():
            if isinstance(value, str) and Path(value).is_absolute():  # as all paths of a run are
                section[name] = Path(value).name
    return values


def _versions(file: Path) -> dict[str, str] | None:
    """Python and packages of the run, where its folder tells them."""
    if not file.is_file():
        return None
    try:
        described = read_json_object(file, _LARGEST_JSON)
        return {"python": described["python"], **described["packages"]}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise GenrevError(
            f"{file} was not written by genrev, or was edited since; move it away."
        ) from error
