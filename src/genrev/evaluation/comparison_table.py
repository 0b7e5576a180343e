"""A comparison of models as a Markdown or CSV table."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["comparison_csv", "comparison_markdown"]

_UNKNOWN = "?"


def comparison_markdown(comparison: dict[str, Any], notes: Sequence[str]) -> str:
    """A table of one row per model, and below it what the numbers are.

    Args:
        comparison: what ``compare_models`` returns, whose models may also have ``seconds`` and
            ``steps`` of their training and ``published_fid``.
        notes: sentences to add.
    """
    rows = comparison["models"]
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "model": lambda row: row["name"].replace("|", "\\|"),
        f"Fréchet, `{comparison['features']}`": lambda row: _interval(row["distance"], 2),
        "KID": lambda row: _significant(row["estimate"]),
        "precision": lambda row: _interval(row["precision"], 3),
        "recall": lambda row: _interval(row["recall"], 3),
        "density": lambda row: _interval(row["density"], 3),
        "coverage": lambda row: _interval(row["coverage"], 3),
        "restricted L1": lambda row: _error(row["reconstruction"]["restricted"], ".4f"),
        "full L1": lambda row: _error(row["reconstruction"]["full"], ".2g"),
        "parameters": lambda row: _whole(row["parameters"]),
        "training": lambda row: _duration(row.get("seconds")),
        "steps": lambda row: _whole(row.get("steps")),
    }
    if any(row.get("published_fid") for row in rows):
        columns["FID in the paper"] = lambda row: _published(row.get("published_fid"))
    lines = [list(columns), [_rule(name) for name in columns]]
    lines += [[show(row) for show in columns.values()] for row in rows]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return f"{table}\n\n" + "\n".join(f"- {note}" for note in [*_facts(comparison), *notes]) + "\n"


def comparison_csv(comparison: dict[str, Any]) -> str:
    """One line per model with all numbers, intervals as half widths in columns of their own."""
    shared = ("samples", "features", "features_sha256", "reference", "reference_split")
    buffer = io.StringIO()
    lines = [
        _flat(row) | {name: comparison[name] for name in shared} for row in comparison["models"]
    ]
    fields = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.DictWriter(buffer, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    names = {"distance": "frechet", "estimate": "kid"}
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "reconstruction":
            flat |= {f"{space}_{k}": v for space, e in value.items() for k, v in e.items()}
        elif isinstance(value, dict):
            flat[names.get(name, name)] = value["mean"]
            flat[f"{names.get(name, name)}_ci95"] = value["half_width"]
        else:
            flat[name] = value
    return flat


def _facts(comparison: dict[str, Any]) -> list[str]:
    seeds = len(comparison["seeds"])
    split = comparison["reference_split"]
    facts = [
        f"{comparison['samples']:,} samples of every model and seed against "
        f"{comparison['reference_count']:,} images of {comparison['reference']}"
        + (f" ({split})" if split else "")
        + f", features `{comparison['features']}` ({comparison['features_sha256'][:8]}), resize "
        f"{comparison['resize']}, seeds {', '.join(str(seed) for seed in comparison['seeds'])}.",
        f"± is the 95 % confidence interval of the mean over {seeds} sampling seeds (Student's t): "
        "other samples of the same trained model, not other trainings of it."
        if seeds > 1
        else "One sampling seed, so there is no interval.",
        "KID is the squared kernel distance; L1 is the mean absolute error of reconstructions in "
        "pixels of [0, 1], through the restricted and through the full latent space, of images "
        "clipped to [0, 1]; in brackets that of the images as decoded, where it differs.",
    ]
    if any(row.get("seconds") is None for row in comparison["models"]):
        facts.append(f"{_UNKNOWN}: the model's folder does not tell.")
    return facts


def _rule(name: str) -> str:
    return "---" if name == "model" else "---:"


def _interval(value: dict[str, Any], digits: int) -> str:
    mean, half = f"{value['mean']:.{digits}f}", value["half_width"]
    return mean if half is None else f"{mean} ± {half:.{digits}f}"


def _error(values: dict[str, float], digits: str) -> str:
    clipped, decoded = (format(values[name], digits) for name in ("l1", "l1_unclipped"))
    return clipped if clipped == decoded else f"{clipped} ({decoded})"


def _significant(value: dict[str, Any]) -> str:
    """Three digits: kernel distances are hundreds in some features and thousandths in others."""
    mean, half = f"{value['mean']:.3g}", value["half_width"]
    return mean if half is None else f"{mean} ± {half:.2g}"


def _whole(value: int | None) -> str:
    return _UNKNOWN if value is None else f"{value:,}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return _UNKNOWN
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _published(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
