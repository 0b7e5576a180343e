"""The tabs of the page: controls, and which function each of them calls."""

import secrets
from dataclasses import dataclass
from typing import Any

import gradio as gr
from torch import Tensor

from genrev.app.controls import (
    ALL_CLASSES,
    QUIET,
    Picker,
    Shared,
    class_choices,
    class_list,
    help_line,
    label_of,
    picture_area,
    tab,
)
from genrev.app.exhibit import Exhibit, between, compare, ends
from genrev.app.pictures import Shelf, enlarged, figure
from genrev.figures import interpolation_rows, sample_sheet

_MOST_SAMPLES = 100
_LARGEST_SEED = 2**32 - 1
_STEPS = 9
_SPACES = [("Restricted", True), ("Full", False)]


class SamplesTab:
    """Samples of the prior: the same sheet as ``genrev sample``; ``reset`` fits them to a model."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        with tab("Samples"):
            help_line("Images drawn from the prior. The same seed always gives the same images.")
            with gr.Row(elem_classes="controls"):
                self.seed = gr.Number(
                    0, label="Seed", precision=0, minimum=0, elem_id="seed", min_width=90
                )
                self.label = class_list("samples-label", 120)
                self.count = gr.Slider(
                    10,
                    _MOST_SAMPLES,
                    value=_MOST_SAMPLES,
                    step=10,
                    label="Images",
                    elem_id="count",
                    min_width=160,
                    buttons=[],
                )
                self.again = gr.Button(
                    "New seed", variant="primary", elem_id="new-seed", min_width=120
                )
            self.sheet = picture_area("sheet")

    def wire(self) -> None:
        """Draw whenever a control changes."""
        inputs = [self._shared.model, self.seed, self.label, self.count]
        gr.on(
            [self.seed.input, self.label.input, self.count.input],
            self._draw,
            inputs,
            self.sheet,
            trigger_mode="always_last",
            **QUIET,
        )
        self.again.click(lambda: secrets.randbelow(1_000_000), None, self.seed, **QUIET).then(
            self._draw, inputs, self.sheet, **QUIET
        )

    def reset(self, name: str, seed: float, count: float) -> tuple[Any, str]:
        """Controls and picture of another model."""
        exhibit = self._shared.exhibit(name)
        choices = gr.update(
            choices=class_choices(exhibit), value=ALL_CLASSES, visible=exhibit.has_classes
        )
        return choices, self._draw(name, seed, ALL_CLASSES, count)

    def _draw(self, name: str, seed: float | None, choice: int, count: float) -> str:
        exhibit = self._shared.exhibit(name)
        label = label_of(exhibit, choice)
        number = min(max(int(seed or 0), 0), _LARGEST_SEED)
        n = min(max(int(count), 1), _MOST_SAMPLES)
        picture = sample_sheet(exhibit.model, n, label, number)
        title = f"{n} samples"
        file_name = f"{exhibit.name}-samples-seed{number}"
        if label is not None:
            title += f" of class {exhibit.class_names[label]}"
            file_name += f"-class{label}"
        return figure(picture, title, file_name, f"{exhibit.name}, seed {number}")


class ReconstructTab:
    """An image next to its restricted and its full reconstruction (Figure 6 of the paper)."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        with tab("Reconstruct"):
            help_line(
                "How much of an image the active dimensions know, and how much the whole "
                "latent space does."
            )
            self.picker = Picker(shared, "Choose an image", "reconstruct")
            self.pictures = picture_area("reconstructions")
        self.inputs = [shared.model, shared.shelf, self.picker.chosen]  # of ``draw``
        self.outputs = [self.pictures]

    def wire(self, everyone: list[Picker]) -> None:
        """Draw whenever an image is chosen."""
        self.picker.wire(everyone, self.draw, self.inputs, self.outputs)

    def draw(self, name: str, shelf: Shelf, chosen: int) -> str:
        """The three pictures."""
        exhibit = self._shared.exhibit(name)
        result = compare(exhibit.model, shelf.image(chosen))
        parts = [
            figure(enlarged(result.original), "Original", f"{exhibit.name}-original"),
            figure(
                enlarged(result.restricted),
                "Restricted",
                f"{exhibit.name}-restricted",
                _error(result.restricted_error),
            ),
            figure(
                enlarged(result.full), "Full", f"{exhibit.name}-full", _error(result.full_error)
            ),
        ]
        return f'<div class="three">{"".join(parts)}</div><p class="note">{_explain(exhibit)}</p>'


@dataclass(frozen=True, eq=False)
class _Line:
    """The encodings of two images, (2, D), and whose they are."""

    model: str
    z: Tensor


class InterpolateTab:
    """From one image to another in a straight line through the latent space (Figures 7 and 8)."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._line = gr.State(None)
        with tab("Interpolate"):
            help_line("Drag the scrubber to walk from one image to the other.")
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
                self.left = picture_area("from-picture")
                self.middle = picture_area("between-picture")
                self.right = picture_area("to-picture")
            self.rows = picture_area("film")
        chosen = [self.a.chosen, self.b.chosen, self.space, self.t]
        self.inputs = [shared.model, shared.shelf, *chosen]  # of ``draw``
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
    ) -> tuple[_Line, str, str, str, str]:
        """Both ends, the image between them and the whole way."""
        exhibit = self._shared.exhibit(name)
        restricted = restricted and exhibit.has_rest  # else nobody can see what was chosen before
        x_a, x_b = shelf.image(a), shelf.image(b)
        line = _Line(exhibit.name, ends(exhibit.model, x_a, x_b, restricted))
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

    def _scrub(self, line: _Line, t: float) -> str:
        t = min(max(float(t), 0.0), 1.0)
        picture = enlarged(between(self._shared.exhibit(line.model).model, line.z, t))
        return figure(picture, "Between", f"{line.model}-between-{t:.2f}", f"{t:.0%} of the way")


def _error(value: float) -> str:
    return f"error {value:.4f}" if value >= 5e-5 else f"error {value:.0e}"


def _explain(exhibit: Exhibit) -> str:
    active, dim = len(exhibit.model.prior.active_dims), exhibit.model.prior.dim
    error = "Error: mean absolute difference per pixel."
    if not exhibit.has_rest:
        return f"All {dim} dimensions are active, so restricted and full are much the same. {error}"
    return f"Restricted: {active} active dimensions. Full: all {dim:,} dimensions. {error}"
