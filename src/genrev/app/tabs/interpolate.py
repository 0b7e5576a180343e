"""From one image to another in a straight line through the latent space (Figures 7 and 8)."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from torch import Tensor

from genrev.app.line import between, ends
from genrev.app.pictures import enlarged, figure
from genrev.app.shelf import Shelf
from genrev.app.tabs.picker import Picker
from genrev.app.tabs.shared import Shared, help_line, picture_area, tab
from genrev.figures import interpolation_rows

__all__ = ["InterpolateTab"]

_STEPS = 9
_SPACES = [("Restricted", True), ("Full", False)]


@dataclass(frozen=True, eq=False)
class _Line:
    """The encodings of two images, (2, D), and whose they are."""

    model: str
    z: Tensor


class InterpolateTab:
    """Controls of the interpolation."""

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

    @property
    def inputs(self) -> list[Any]:
        """What ``draw`` takes."""
        shared = self._shared
        return [shared.model, shared.shelf, self.a.chosen, self.b.chosen, self.space, self.t]

    @property
    def outputs(self) -> list[Any]:
        """What ``draw`` gives."""
        return [self._line, self.left, self.middle, self.right, self.rows]

    def wire(self, everyone: list[Picker]) -> None:
        """Encode when an image or the space is chosen; only decode when the scrubber moves."""
        for picker in (self.a, self.b):
            picker.wire(everyone, self.draw, self.inputs, self.outputs)
        self.space.input(
            self.draw, self.inputs, self.outputs, show_progress="hidden", api_visibility="private"
        )
        self.t.input(
            self._scrub,
            [self._line, self.t],
            self.middle,
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="private",
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
