"""The result of the benchmark of a card as Markdown and as a plot; parts may be missing."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from genrev.bench.parts import Found
from genrev.files.writing import replacing

_DASH = "–"


def markdown(result: Found) -> str:
    """What was found, part by part, with a line for whatever was left out or failed."""
    environment, machine, parts = result["environment"], result["machine"], result["parts"]
    head, _, changed = (environment.get("commit") or "unknown").partition("-")
    commit = head[:7] + " with changes" * bool(changed)
    lines = [
        "# `genrev bench gpu`",
        "",
        f"{machine['device']}, torch {machine['torch']}, {machine['threads']} threads, "
        f"{machine['system']}; genrev {result['version']}, commit {commit}; "
        f"{sum(part['seconds'] for part in parts.values()) / 60:.1f} of {result['minutes']:g} "
        "minutes.",
    ]
    for name, part in parts.items():
        lines += ["", f"## {name.capitalize()}", ""]
        if part["status"] == "failed":
            lines += [f"**Failed:** {part['error']}", ""]
        lines += _SECTIONS[name](part)
        lines += [f"- left out: {line}" for line in part.get("skipped", [])]
    if "plot" in result:
        lines += ["", f"The plot was {result['plot']}"]
    return "\n".join(lines)


def plot(result: Found, path: Path) -> None:
    """Draw images a second of engine and training, and memory against depth."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(15, 5.5), layout="constrained")
    engine, training, memory = figure.subplots(1, 3)
    parts = result["parts"]
    for row in parts.get("engine", {}).get("rows", [])[:1]:
        rates = row["images_per_second"]
        engine.barh(list(rates), list(rates.values()))
        engine.set_title(f"one step of phase 1, batch {row['batch']:,}")
    bars = {
        f"{name}, {row['precision']}, {row['phase']}, {row['batch']:,}": found["images_per_second"]
        for row in parts.get("training", {}).get("rows", [])
        for name, found in row["candidates"].items()
        if "failed" not in found
    }
    training.barh(list(bars), list(bars.values()))
    training.set_title("training steps")
    for axes in (engine, training):
        axes.invert_yaxis()
        axes.tick_params(axis="y", labelsize="x-small")
        axes.set_xlabel("images a second")
    rows = parts.get("memory", {}).get("rows", [])
    for coupling in dict.fromkeys(row["coupling"] for row in rows):
        own = [row for row in rows if row["coupling"] == coupling]
        for kind in ("stored", "reversible"):
            line = [row["blocks"] for row in own], [row[kind] for row in own]
            memory.plot(*line, marker="o", label=f"{coupling}, {kind}")
    memory.set(xlabel="couplings", ylabel="peak of activations, MiB", xscale="log", yscale="log")
    depths = sorted({row["blocks"] for row in rows})
    memory.set_xticks(depths, [str(depth) for depth in depths])
    memory.minorticks_off()
    memory.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    memory.yaxis.set_major_formatter("{x:g}")
    if rows:
        memory.legend(fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def _ceilings(part: Found) -> Iterator[str]:
    if "tflops" not in part:
        return
    yield from _table(("what", "at most"), [
        *((f"product of {part['product_side']:,} x {part['product_side']:,}, {name}",
           f"{rate:,.2f} TFLOP/s") for name, rate in part["tflops"].items()),
        (f"copy of {part['copied_bytes'] / 2**20:,.0f} MiB, read and written",
         f"{part['copy_gb_s']:,.1f} GB/s"),
    ])  # fmt: skip


def _checks(part: Found) -> Iterator[str]:
    if tests := part.get("tests"):
        counts = ", ".join(f"{tests[name]} {name}" for name in ("passed", "failed", "skipped"))
        yield f"Tests that need a card: {counts}."
        yield ""
        yield from (f"- {name}: {why}" for name, why in tests["failures"].items())


def _engine(part: Found) -> Iterator[str]:
    for row in part.get("rows", []):
        work = _number(row.get("step_tflop"), ",.3f")
        yield (
            f"Phase 1 of the training without an optimiser, batch {row['batch']:,}. A step is "
            f"{work} TFLOP, without what is recomputed; shares are of the product and copy above."
        )
        yield ""
        head = ("candidate", "ms a step", "images/s", "speed", "peak MiB", "of activations",
                "gradient to plain's", "share of products", "of copies")  # fmt: skip
        yield from _table(head, (_engine_cells(row, *item) for item in row["candidates"].items()))
        yield ""
    yield from (f"- not installed: {name}" for name in part.get("missing", []))


def _engine_cells(row: Found, name: str, found: Found) -> Sequence[str]:
    if "failed" in found:
        return (name, f"failed: {found['failed']}", *[_DASH] * 7)
    return (
        name,
        _number(1000 * found["seconds"], ",.2f"),
        _number(row["images_per_second"][name], ",.0f"),
        _number(found["speed"], ".2f"),
        _number(found["peak_mib"], ",.1f"),
        _number(found["activations_mib"], ",.1f"),
        _number(found["gradient_to_plain"], ".1e"),
        _number(found.get("share_of_products"), ".1%"),
        _number(found.get("share_of_copies"), ".1%"),
    )


def _training(part: Found) -> Iterator[str]:
    for row in part.get("rows", []):
        yield (
            f"{row['phase'].capitalize()} phase with its optimisers, batch {row['batch']:,}, "
            f"{row['precision']}; the ratio is to the authors' formulation in the same precision."
        )
        yield ""
        head = ("candidate", "ms a step", "images/s", "ratio", "share of products")
        yield from _table(head, (_training_cells(*item) for item in row["candidates"].items()))
        yield ""


def _training_cells(name: str, found: Found) -> Sequence[str]:
    if "failed" in found:
        return name, f"failed: {found['failed']}", *[_DASH] * 3
    return (
        name,
        _number(1000 * found["seconds"], ",.2f"),
        _number(found["images_per_second"], ",.0f"),
        _number(found["ratio"], ".2f"),
        _number(found.get("share_of_products"), ".1%"),
    )


def _memory(part: Found) -> Iterator[str]:
    if part.get("rows"):
        yield (
            f"Peak of activations in MiB, 32x32 images, batch {part['batch']}; affine couplings "
            "with a likelihood."
        )
        yield ""
        head = ("couplings", "number", "stored", "reversible", "gradient to stored's")
        rows = sorted(part["rows"], key=lambda row: str(row["coupling"]))  # keeps the depths' order
        yield from _table(head, (
            (row["coupling"], f"{row['blocks']}", _number(row["stored"], ",.1f"),
             _number(row["reversible"], ",.1f"), _number(row["gradient_to_stored"], ".1e"))
            for row in rows
        ))  # fmt: skip
        yield ""


def _evaluation(part: Found) -> Iterator[str]:
    if "frechet" in part:
        found = part["frechet"]
        yield (
            f"{part['samples']:,} samples of an untrained model take "
            f"{part['sampling_seconds']:.2f} s; samples, their features `{found['features']}` and "
            f"the Fréchet distance to {found['reference_count']:,} images of "
            f"{found['reference']} {part['evaluation_seconds']:.2f} s."
        )
        yield ""


_SECTIONS = {
    "ceilings": _ceilings,
    "checks": _checks,
    "engine": _engine,
    "training": _training,
    "memory": _memory,
    "evaluation": _evaluation,
}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---", *["---:"] * (len(head) - 1)], *rows):
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _number(value: Any, how: str) -> str:
    return _DASH if value is None else format(value, how)
