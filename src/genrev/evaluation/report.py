"""Results of ``evaluate`` as aligned lines for humans; programs read the dictionary."""

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["format_report"]

Line = tuple[str, str]


def format_report(result: dict[str, dict[str, Any]]) -> str:
    """One line per number: name, value, and what it was measured on.

    Args:
        result: What ``evaluate`` returns.

    Returns:
        Lines joined by newlines, without one at the end.

    Example:
        >>> provenance = {"samples": 100, "reference": "digits", "reference_count": 297,
        ...               "reference_split": "test", "features": "fid768",
        ...               "features_sha256": "c0ffee" * 10, "seed": 0}
        >>> print(format_report({"frechet": {"distance": 12.345, **provenance}}))
        Fréchet distance, fid768  12.345
          100 samples against 297 images of digits (test), features fid768 (c0ffeec0), seed 0
    """
    blocks = [(list(_LINES[name](values)), _provenance(values)) for name, values in result.items()]
    width = max((len(label) for lines, _ in blocks for label, _ in lines), default=0)
    text: list[str] = []
    for lines, provenance in blocks:
        text += [f"{label:<{width}}  {value}" for label, value in lines]
        text.append(f"  {provenance}")
    return "\n".join(text)


def _provenance(values: dict[str, Any]) -> str:
    split = f" ({values['reference_split']})" if values["reference_split"] else ""
    images = f"{values['reference_count']:,} images of {values['reference']}{split}"
    if not values["reference_count"]:
        parts = [f"{values['samples']:,} samples"]
    elif values["samples"]:
        parts = [f"{values['samples']:,} samples against {images}"]
    else:
        parts = [images]
    if values["features"]:
        parts.append(f"features {values['features']} ({values['features_sha256'][:8]})")
    return ", ".join([*parts, f"seed {values['seed']}"])


def _inversion(values: dict[str, Any]) -> Iterator[Line]:
    for dtype, error in values["by_dtype"].items():
        if "skipped" in error:
            yield f"inversion error, {dtype}", f"not measured: {error['skipped']}"
            continue
        # In numbers of images, since 9,999 of 10,000 would be 100.0 %.
        identical = round(error["identical_images"] * error["count"])
        yield (
            f"inversion error, {dtype}",
            f"mean L1 {error['mean_l1']:.2e}, largest {error['max_abs']:.2e}; {identical:,} of "
            f"{error['count']:,} images come back with the same 8-bit pixels",
        )


def _reconstruction(values: dict[str, Any]) -> Iterator[Line]:
    for name in ("restricted", "full"):
        error = values[name]
        psnr = "exact" if error["psnr"] is None else f"PSNR {error['psnr']:.1f} dB"
        clipped, decoded = f"{error['l1']:.4g}", f"{error['l1_unclipped']:.4g}"
        both = "" if clipped == decoded else f" (of images clipped to [0, 1]; as decoded {decoded})"
        yield (
            f"reconstruction, {name}",
            f"mean L1 {clipped}{both}, mean square {error['mse']:.4g}, {psnr}",
        )


def _latent(values: dict[str, Any]) -> Iterator[Line]:
    for name, group in {"all": values["overall"], **values["classes"]}.items():
        relative = group["sliced_wasserstein_relative"]
        distance = "undefined, prior is a point" if relative is None else f"{relative:.2f} x chance"
        yield (
            f"latent distance, {name}",
            f"{distance}; dimensions in use: prior {group['prior_dims']}, encodings "
            f"{group['encoding_dims']} of {values['active_dims']}, full space "
            f"{group['encoding_dims_full']} of {values['dims']}",
        )
    for kind, used in values["shared"].items():
        yield (
            f"dimensions in use, {kind}",
            f"{used['all']} in all classes, {used['several']} in several, {used['one']} in one, "
            f"{used['none']} in none",
        )


def _frechet(values: dict[str, Any]) -> Iterator[Line]:
    yield f"Fréchet distance, {values['features']}", f"{values['distance']:.3f}"


def _kid(values: dict[str, Any]) -> Iterator[Line]:
    number = f"{values['estimate']:.3e} ± {values['standard_error']:.1e}"
    yield f"kernel distance, {values['features']}", number


def _prdc(values: dict[str, Any]) -> Iterator[Line]:
    for name in ("precision", "recall", "density", "coverage"):
        yield f"{name} (k = {values['k']})", f"{values[name]:.3f}"


def _accuracy(values: dict[str, Any]) -> Iterator[Line]:
    worst = min(values["classes"], key=values["classes"].__getitem__)
    yield (
        "accuracy of samples",
        f"{values['accuracy']:.1%}; worst class {worst}: {values['classes'][worst]:.1%}",
    )


def _memorisation(values: dict[str, Any]) -> Iterator[Line]:
    for space in ("pixel", "feature"):
        found = values.get(f"{space}_space")
        if found is None:
            continue
        yield (
            f"memorisation, {space}s",
            f"{found['nearer_share']:.1%} of samples nearer to {found['train_count']:,} training "
            f"images than 99 % of held-out images are; z {found['copying_z']:+.1f}",
        )


def _likelihood(values: dict[str, Any]) -> Iterator[Line]:
    bits, error = values["bits_per_dim"], values["standard_error"]
    yield "bits per dimension, at most", f"{bits:.3f} ± {error:.3f} of {values['dims']} dimensions"


def _classification(values: dict[str, Any]) -> Iterator[Line]:
    worst = min(values["classes"], key=values["classes"].__getitem__)
    yield (
        "accuracy of encodings",
        f"{values['classification_accuracy']:.1%}; worst class {worst}: "
        f"{values['classes'][worst]:.1%}",
    )


_LINES: dict[str, Callable[[dict[str, Any]], Iterator[Line]]] = {
    "inversion": _inversion,
    "reconstruction": _reconstruction,
    "latent": _latent,
    "frechet": _frechet,
    "kid": _kid,
    "prdc": _prdc,
    "accuracy": _accuracy,
    "memorisation": _memorisation,
    "likelihood": _likelihood,
    "classification": _classification,
}
