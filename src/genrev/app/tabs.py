"""The tabs of the page; ``reset`` fits one to another model, ``draw`` or ``begin`` fills it."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from genrev.app import controls
from genrev.app.controls import QUIET, Picker, Shared, tab
from genrev.app.exhibit import (
    SLIDERS,
    Exhibit,
    between,
    encoded,
    from_sample,
    moved,
    reconstructions,
    shifted,
    shown_class,
    told,
)
from genrev.app.latents import Latent, keep_buttons, read_latent
from genrev.app.pictures import Shelf, enlarged, figure
from genrev.errors import GenrevError
from genrev.figures import interpolation_rows, sample_sheet
from genrev.models.checks import prior_label
from genrev.words import LARGEST_SEED, counted

_MOST_SAMPLES = 100
_STEPS = 9
_SPACES = [("Restricted", True), ("Full", False)]
_EXTENT = 3.0  # standard deviations to either side
_STARTS = [("Mean", "mean"), ("Sample", "sample"), ("Image", "image")]


class SamplesTab:
    """Samples of the prior: the same sheet as ``genrev sample``."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        with tab("Samples"):
            with gr.Row(elem_classes="controls"):
                self.seed = gr.Number(0, label="Seed", precision=0, elem_id="seed", min_width=90)
                self.label = controls.class_list("samples-label", 120)
                self.count = gr.Slider(
                    10, _MOST_SAMPLES, value=_MOST_SAMPLES, step=10, label="Images",
                    elem_id="count", min_width=160, buttons=[],
                )  # fmt: skip
                self.again = gr.Button(
                    "New seed", variant="primary", elem_id="new-seed", min_width=120
                )
            self.sheet = controls.picture_area("sheet")

    def wire(self) -> None:
        """Draw whenever a control changes."""
        inputs = [self._shared.model, self.seed, self.label, self.count]
        changed = [self.seed.input, self.label.input, self.count.input]
        gr.on(changed, self._draw, inputs, self.sheet, trigger_mode="always_last", **QUIET)
        self.again.click(_new_seed, None, self.seed, **QUIET).then(
            self._draw, inputs, self.sheet, **QUIET
        )

    def reset(self, name: str, seed: float, count: float) -> tuple[Any, str]:
        """Controls and picture of another model."""
        exhibit = self._shared.exhibit(name)
        choices = controls.class_choices(exhibit)
        return (
            gr.update(choices=choices, value=controls.ALL_CLASSES, visible=exhibit.has_classes),
            self._draw(name, seed, controls.ALL_CLASSES, count),
        )

    def _draw(self, name: str, seed: float | None, choice: int, count: float) -> str:
        exhibit = self._shared.exhibit(name)
        label = controls.label_of(exhibit, choice)
        number = min(max(int(seed or 0), 0), LARGEST_SEED)
        n = min(max(int(count), 1), _MOST_SAMPLES)
        picture = sample_sheet(exhibit.model, n, label, number)
        title, file_name = counted(n, "sample"), f"{exhibit.name}-samples-seed{number}"
        if label is not None:
            title += f" of class {exhibit.class_names[label]}"
            file_name += f"-class{label}"
        return figure(picture, title, file_name, f"{exhibit.name}, seed {number}")


@dataclass(frozen=True, eq=False)
class _Start:
    """Where the sliders move away from: z (D,), along which dimensions, in which class."""

    model: str
    z: Tensor
    dims: list[int]
    label: int | None
    note: str


class ExploreTab:
    """Sliders for the widest latent dimensions, and the image they lead to (Figure 9, by hand)."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._start = gr.State(None)
        self._seed = gr.State(0)
        with tab("Explore"), gr.Row(elem_classes="explore"):
            with gr.Column(scale=2, min_width=260, elem_classes="stage"):
                self.picture = controls.picture_area("explored")
            with gr.Column(scale=3, min_width=300):
                self._controls(shared)
        asked = [self.origin, self.label, self._seed, self.picker.chosen, self.rest]
        self.inputs = [shared.model, shared.shelf, *asked]
        shown = [self._start, self.picture, self.image_controls, self.again]
        self.outputs = [*shown, *self.sliders]

    def _controls(self, shared: Shared) -> None:
        with gr.Row(elem_classes="controls"):
            self.origin = gr.Radio(
                _STARTS, value="mean", label="Start from", elem_id="origin", min_width=220, scale=2
            )
            self.label = controls.class_list("explore-label", 110)
        with gr.Column(elem_classes="off", min_width=200) as self.image_controls:
            self.picker = Picker(shared, "Choose an image", "explore")
            self.rest = gr.Radio(
                [("Keep", False), ("Drop", True)], value=False, elem_id="rest",
                label="What only the other dimensions know about it",
            )  # fmt: skip
        with gr.Row(elem_classes="sliders"):
            self.sliders = [
                gr.Slider(
                    -_EXTENT, _EXTENT, value=0, step=0.1, label="dimension",
                    elem_id=f"slider-{i}", min_width=200, buttons=[], visible=False
                )
                for i in range(SLIDERS)
            ]  # fmt: skip
        with gr.Row(elem_classes="controls"):
            self.reset_button = gr.Button("Reset sliders", elem_id="reset", min_width=120)
            self.again = gr.Button(
                "Another sample", elem_id="another", visible=False, variant="primary", min_width=120
            )
            self.file = controls.upload_button("Open a latent…", [".npz"], "latent-upload")
        self.note = gr.HTML(elem_id="latent-note")

    def wire(self, everyone: list[Picker]) -> None:
        """Begin anew when the start changes; only decode when a slider moves."""
        changed = [self.origin.input, self.label.input, self.rest.input]
        gr.on(changed, self.begin, self.inputs, self.outputs, **QUIET)
        self.again.click(_new_seed, None, self._seed, **QUIET).then(
            self.begin, self.inputs, self.outputs, **QUIET
        )
        self.picker.wire(everyone, self.begin, self.inputs, self.outputs)
        opened = [self._shared.model, self.file]
        self.file.upload(self._open, opened, [self.note, *self.outputs], **QUIET)
        moves = [slider.input for slider in self.sliders]
        offsets = [self._start, *self.sliders]
        gr.on(moves, self._move, offsets, self.picture, trigger_mode="always_last", **QUIET)
        self.reset_button.click(
            lambda start: [self._move(start, *[0.0] * SLIDERS), *[0.0] * SLIDERS],
            self._start,
            [self.picture, *self.sliders],
            **QUIET,
        )

    def reset(self, name: str) -> tuple[Any, Any, Any]:
        """The classes of another model, a start that it has, and the question about the rest."""
        exhibit = self._shared.exhibit(name)
        first = 0 if exhibit.has_classes else controls.ALL_CLASSES
        return (
            gr.update(
                choices=controls.class_choices(exhibit), value=first, visible=exhibit.has_classes
            ),
            gr.update(value="mean"),
            gr.update(visible=exhibit.has_rest),
        )

    def begin(
        self, name: str, shelf: Shelf | None, origin: str, choice: int, seed: int, *image: Any
    ) -> list[Any]:
        """A new start, with all sliders at zero."""
        chosen, restricted = image
        exhibit = self._shared.exhibit(name)
        x = (shelf or Shelf.of(exhibit)).image(chosen) if origin == "image" else None
        label = shown_class(exhibit.model, controls.label_of(exhibit, choice), seed, x)
        note = "" if label is None else f" of class {exhibit.class_names[label]}"
        if x is not None:
            z = encoded(exhibit.model, x, restricted and exhibit.has_rest)[0]
            note = "moved from an image"
        elif origin == "sample":
            z = from_sample(exhibit.model, label, seed)
            note = f"moved from sample {seed}{note}"
        else:
            z = exhibit.model.prior.center(prior_label(exhibit.model, label)).detach()
            note = f"moved from the mean{note}"
        return self._started(exhibit, Latent(z, label), note, origin)

    def _open(self, name: str, path: str) -> list[Any]:
        exhibit, file = self._shared.exhibit(name), Path(path)
        try:
            latent = read_latent(file, exhibit.model)
        except GenrevError as error:
            return [controls.error_note(error), *[gr.skip()] * len(self.outputs)]
        return ["", *self._started(exhibit, latent, f"moved from {file.name}", "file")]

    def _started(self, exhibit: Exhibit, at: Latent, note: str, origin: str) -> list[Any]:
        """What is shown of a new start."""
        dims = exhibit.dims(at.label)
        start = _Start(exhibit.name, at.z, dims, at.label, note)
        sliders = [gr.update(value=0, visible=True, label=f"dim {dim}") for dim in dims]
        unused = [gr.update(value=0, visible=False, label="")] * (SLIDERS - len(dims))
        return [
            start,
            self._move(start, *[0.0] * SLIDERS),
            gr.update(elem_classes=[] if origin == "image" else ["off"]),
            gr.update(visible=origin == "sample"),
            *sliders,
            *unused,
        ]

    def _move(self, start: _Start, *offsets: float) -> str:
        model = self._shared.exhibit(start.model).model
        bounded = [min(max(float(t), -_EXTENT), _EXTENT) for t in offsets[: len(start.dims)]]
        found = shifted(model, start.z, start.dims, bounded, start.label)
        picture = enlarged(moved(model, found, [], [], start.label))
        keep = keep_buttons(model, start.model, Latent(found, start.label))
        return figure(picture, "Image", f"{start.model}-explored", start.note, keep)


class ReconstructTab:
    """An image next to its restricted and its full reconstruction (Figure 6 of the paper)."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        with tab("Reconstruct"):
            self.picker = Picker(shared, "Choose an image", "reconstruct")
            self.pictures = controls.picture_area("reconstructions")
        self.inputs = [shared.model, shared.shelf, self.picker.chosen]
        self.outputs = [self.pictures]

    def wire(self, everyone: list[Picker]) -> None:
        """Draw whenever an image is chosen."""
        self.picker.wire(everyone, self.draw, self.inputs, self.outputs)

    def draw(self, name: str, shelf: Shelf, chosen: int) -> str:
        """The three pictures."""
        exhibit, x = self._shared.exhibit(name), shelf.image(chosen)
        parts = figure(enlarged(x[0]), "Original", f"{exhibit.name}-original")
        for way, (y, error) in reconstructions(exhibit.model, x).items():
            note = f"error {error:.4f}" if error >= 5e-5 else f"error {error:.0e}"
            parts += figure(enlarged(y), way, f"{exhibit.name}-{way.lower()}", note)
        return f'<div class="three">{parts}</div><p class="note">{_explain(exhibit)}</p>'


class InterpolateTab:
    """From one image to another in a straight line through the latent space (Figures 7 and 8)."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        # Name of the model, encodings of both ends, (2, D), and what its network is told of them.
        self._line = gr.State(None)
        with tab("Interpolate"):
            with gr.Row():
                self.a = Picker(shared, "From", "from", first=0)
                self.b = Picker(shared, "To", "to", first=1)
            with gr.Row(elem_classes="controls"):
                self.t = gr.Slider(
                    0, 1, value=0.5, step=0.01, label="Way from one to the other",
                    elem_id="scrubber", scale=3, min_width=220, buttons=[],
                )  # fmt: skip
                self.space = gr.Radio(
                    _SPACES, value=True, label="Latent space", elem_id="space", min_width=180
                )
            with gr.Row(elem_classes="between"):
                self.left = controls.picture_area("from-picture")
                self.middle = controls.picture_area("between-picture")
                self.right = controls.picture_area("to-picture")
            self.rows = controls.picture_area("film")
        chosen = [self.a.chosen, self.b.chosen, self.space, self.t]
        self.inputs = [shared.model, shared.shelf, *chosen]
        self.outputs = [self._line, self.left, self.middle, self.right, self.rows]

    def wire(self, everyone: list[Picker]) -> None:
        """Encode when an image or the space is chosen; only decode when the scrubber moves."""
        for picker in (self.a, self.b):
            picker.wire(everyone, self.draw, self.inputs, self.outputs)
        self.space.input(self.draw, self.inputs, self.outputs, **QUIET)
        self.t.input(
            self._scrub, [self._line, self.t], self.middle, trigger_mode="always_last", **QUIET
        )

    def reset(self, name: str) -> Any:
        """The question about the space, for models that have two."""
        return gr.update(visible=self._shared.exhibit(name).has_rest)

    def draw(
        self, name: str, shelf: Shelf, a: int, b: int, restricted: bool, t: float
    ) -> tuple[tuple[str, Tensor, Tensor | None], str, str, str, str]:
        """Both ends, the image between them and the whole way."""
        exhibit = self._shared.exhibit(name)
        restricted = restricted and exhibit.has_rest  # else nobody can see what was chosen before
        x_a, x_b = shelf.image(a), shelf.image(b)
        ends = torch.cat((x_a, x_b))
        z = encoded(exhibit.model, ends, restricted)
        line = exhibit.name, z, told(exhibit.model, ends)
        rows = interpolation_rows(exhibit.model, x_a, x_b, _STEPS, restricted)
        space = "restricted" if restricted else "full"
        note = f"{space} latent space" if exhibit.has_rest else ""
        return (
            line,
            figure(enlarged(x_a[0]), "From", f"{exhibit.name}-from"),
            self._scrub(line, t),
            figure(enlarged(x_b[0]), "To", f"{exhibit.name}-to"),
            figure(rows, "The whole way", f"{exhibit.name}-way-{space}", note),
        )

    def _scrub(self, line: tuple[str, Tensor, Tensor | None], t: float) -> str:
        (name, z, features), t = line, min(max(float(t), 0.0), 1.0)
        picture = enlarged(between(self._shared.exhibit(name).model, z, t, features))
        return figure(picture, "Between", f"{name}-between-{t:.2f}", f"{t:.0%} of the way")


def _new_seed() -> int:
    return secrets.randbelow(1_000_000)


def _explain(exhibit: Exhibit) -> str:
    active, dim = len(exhibit.model.prior.active_dims), exhibit.model.prior.dim
    error = "Error: mean absolute difference per pixel."
    if not exhibit.has_rest:
        return f"All {dim} dimensions are active, so restricted and full are much the same. {error}"
    return (
        f"Restricted: {counted(active, 'active dimension')}. Full: all {dim:,} dimensions. {error}"
    )
