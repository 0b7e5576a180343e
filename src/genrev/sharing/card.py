"""The model card: a README.md with the hub's metadata, written from what is known of a model."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from genrev.data.sources import CELEBA, HUB_ADDRESSES, REPOSITORY
from genrev.files.readers import dump_yaml
from genrev.networks.network import Network
from genrev.priors.prior import Prior
from genrev.words import kind_of

SAMPLES_FILE = "samples.png"


@dataclass(frozen=True)
class CardNotes:
    """What a card tells beyond ``model.info``."""

    licence: str | None = None  #: identifier of the hub, such as ``mit``; ``None`` states none
    numbers: str | None = None  #: lines of results, with what they were measured on
    config: Mapping[str, Any] | None = None  #: resolved configuration of the run
    versions: Mapping[str, str] | None = None  #: of packages, by name
    samples: bool = False  #: whether ``samples.png`` lies next to the card


class Described(Protocol):
    """What a card asks of a model."""

    net: Network
    prior: Prior
    info: dict[str, Any]


_CARD = """---
{metadata}---

# {title}

A generative autoencoder ({kind}, {parameters:,} parameters) that draws {size} \
{images} with {shape[0]} channel{plural}{classes} from {active} of its {dim:,} latent dimensions. \
Made with genrev, after [Training Generative Reversible Networks](https://arxiv.org/abs/1806.01610).

{samples}## Use

```python
import genrev
model = genrev.load("{repository}")  # safetensors and JSON: nothing is executed
{images} = model.sample(16{label})  # (16, {sizes}) in [0, 1]
```

## Training

{training}

## Numbers

{numbers}

## Intended use

Research and teaching on invertible generative models. The samples are made up: none is a \
photograph, and none is evidence of anything.

## Limits

{limits}

## Licence

{licence} The images it was trained on have terms of their own.
"""


def model_card(model: Described, repository: str | None, notes: CardNotes) -> str:
    """Text of the card, in Markdown after a block of YAML, for a repository ``owner/name``."""
    data = model.info.get("data")
    data = data if isinstance(data, dict) else {}
    classes = model.prior.num_classes if model.prior.num_classes > 1 else max(1, model.net.context)
    shape = model.net.image_shape
    prior, kind, recipe = model.prior, type(model.net).__name__, model.info.get("recipe")
    samples = (
        f"![samples of this model]({SAMPLES_FILE})\n\n*Drawn by this model, not selected: trained "
        f"on {_plain(data.get('name') or 'unknown data')}, no image of which is shown here.*\n\n"
    )
    return _CARD.format(
        metadata=dump_yaml(_metadata(data, notes)),
        title=f"genrev {_plain(recipe)}" if recipe else f"A genrev model ({kind})",
        kind=kind,
        parameters=sum(p.numel() for part in (prior, model.net) for p in part.parameters()),
        shape=shape,
        size="x".join(map(str, shape[1:])),
        sizes=", ".join(map(str, shape)),
        images=kind_of(shape),
        plural="s" if shape[0] > 1 else "",
        classes=f", one of {classes} classes at a time," if classes > 1 else "",
        active=len(prior.active_dims),
        dim=prior.dim,
        samples=samples if notes.samples else "",
        repository=repository or "owner/name",
        label=", label=3" if classes > 3 else "",
        training=_training(model, data, notes),
        numbers=_numbers(model, notes),
        limits=_limits(model, data),
        licence=f"Weights: `{_plain(notes.licence)}`." if notes.licence else "None was stated.",
    )


def _metadata(data: dict[str, Any], notes: CardNotes) -> dict[str, Any]:
    values: dict[str, Any] = {
        "library_name": "genrev",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["generative-model", "reversible-network", "invertible", "pytorch"],
    }
    if notes.licence:
        values["license"] = notes.licence
    source = str(data.get("source") or "")
    dataset = HUB_ADDRESSES.get(source, source.removeprefix("hub:").partition("@")[0])
    if REPOSITORY.fullmatch(dataset):
        values["datasets"] = [dataset]
    return values


def _training(model: Described, data: dict[str, Any], notes: CardNotes) -> str:
    info, config = model.info, notes.config or {}
    crop = data.get("crop") or (CELEBA["crop"] if data.get("source") == "celeba" else None)
    method, versions = config.get("method"), (notes.versions or {}).items()
    facts = {
        "data": data.get("name"),
        "source": data.get("source"),
        "crop": f"{crop}x{crop} of the centre" if isinstance(crop, int) else None,
        "size": "x".join(map(str, model.net.image_shape[1:])),
        "fingerprint of the images": data.get("fingerprint"),
        "recipe": info.get("recipe"),
        "method": method.get("name") if isinstance(method, dict) else method,
        "steps": info.get("steps"),
        "batch size": config.get("batch_size"),
        "seed": info.get("seed"),
        "commit of genrev": info.get("commit"),
        "versions": ", ".join(f"{name} {version}" for name, version in versions) or None,
    }
    text = _table({name: value for name, value in facts.items() if value is not None})
    if notes.config is not None:
        text += (
            "\n\n<details><summary>Resolved configuration</summary>\n\n```yaml\n"
            f"{dump_yaml(notes.config)}```\n\n</details>"
        )
    return text


def _numbers(model: Described, notes: CardNotes) -> str:
    if notes.numbers:
        return f"As `genrev evaluate` reports them:\n\n```\n{notes.numbers}\n```"
    measured = model.info.get("measured")
    if isinstance(measured, dict) and measured:
        return _table(measured)
    return "None were measured."


def _table(rows: Mapping[str, Any]) -> str:
    lines = (f"| {_plain(name)} | {_plain(value)} |" for name, value in rows.items())
    return "\n".join(("| | |", "|---|---|", *lines))


def _limits(model: Described, data: dict[str, Any]) -> str:
    lines = [
        "The model knows the images it was trained on and nothing else: it repeats what is "
        "frequent among them and leaves out what is rare.",
        "Fréchet distances of genrev are in the features that stand next to the number. They can "
        "be compared with each other, not with published FID, which has other features and other "
        "numbers of samples.",
    ]
    if model.net.reversible and not model.net.bijective:
        lines.append(
            "Images are padded with zeros before they are encoded. Every image comes back from "
            "its latent code, but not every latent code is that of an image: what a code puts "
            "into the border is cut off."
        )
    told = " ".join(map(str, data.values())).lower()
    if "face" in told or "celeb" in told:
        lines.append(
            "Photographs of faces from the web are mostly of celebrities, light-skinned, young, "
            "made up and smiling, and their labels are guesses of strangers. The model has these "
            "biases. Do not use it to judge, identify or imitate people."
        )
    return "\n".join(
        textwrap.fill(line, 100, initial_indent="- ", subsequent_indent="  ") for line in lines
    )


def _plain(value: Any) -> str:
    """A value as text that has no meaning in Markdown's tables."""
    text = " ".join(str(value).split())
    return "".join(c for c in text if c.isprintable() and c not in "|<>`[]")
