"""Sliders for the widest latent dimensions, and the image they lead to (Figure 9, by hand)."""

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
from genrev.app.exhibit import SLIDERS, from_image, from_mean, from_sample, moved
from genrev.app.pictures import Shelf, enlarged, figure

_EXTENT = 3.0  # standard deviations to either side
_STARTS = [("Mean", "mean"), ("Sample", "sample"), ("Image", "image")]


@dataclass(frozen=True, eq=False)
class _Start:
    """Where the sliders move away from."""

    model: str
    z: Tensor  # (D,)
    dims: list[int]
    label: int | None
    note: str


class ExploreTab:
    """Controls of the exploration; ``reset`` fits them to a model, ``begin`` to a start."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._start = gr.State(None)
        self._seed = gr.State(0)
        with tab("Explore"):
            help_line(
                "Each slider moves one latent dimension, in standard deviations; "
                "the widest dimensions come first."
            )
            with gr.Row(elem_classes="explore"):
                with gr.Column(scale=2, min_width=260, elem_classes="stage"):
                    self.picture = picture_area("explored")
                with gr.Column(scale=3, min_width=300):
                    self._controls(shared)
        # What ``begin`` takes and gives.
        asked = [self.origin, self.label, self._seed, self.picker.chosen, self.rest]
        self.inputs = [shared.model, shared.shelf, *asked]
        shown = [self._start, self.picture, self.image_controls, self.again]
        self.outputs = [*shown, *self.sliders]

    def _controls(self, shared: Shared) -> None:
        with gr.Row(elem_classes="controls"):
            self.origin = gr.Radio(
                _STARTS, value="mean", label="Start from", elem_id="origin", min_width=220, scale=2
            )
            self.label = class_list("explore-label", 110)
        with gr.Column(elem_classes="off", min_width=200) as self.image_controls:
            self.picker = Picker(shared, "Choose an image", "explore")
            self.rest = gr.Radio(
                [("Keep", False), ("Drop", True)],
                value=False,
                label="What only the other dimensions know about it",
                elem_id="rest",
            )
        with gr.Row(elem_classes="sliders"):
            self.sliders = [
                gr.Slider(
                    -_EXTENT, _EXTENT, value=0, step=0.1, label="dimension",
                    elem_id=f"slider-{i}", min_width=200, buttons=[], visible=False,
                )
                for i in range(SLIDERS)
            ]  # fmt: skip
        with gr.Row(elem_classes="controls"):
            self.reset_button = gr.Button("Reset sliders", elem_id="reset", min_width=120)
            self.again = gr.Button(
                "Another sample", elem_id="another", visible=False, variant="primary", min_width=120
            )

    def wire(self, everyone: list[Picker]) -> None:
        """Begin anew when the start changes; only decode when a slider moves."""
        gr.on(
            [self.origin.input, self.label.input, self.rest.input],
            self.begin,
            self.inputs,
            self.outputs,
            **QUIET,
        )
        self.again.click(lambda: secrets.randbelow(1_000_000), None, self._seed, **QUIET).then(
            self.begin, self.inputs, self.outputs, **QUIET
        )
        self.picker.wire(everyone, self.begin, self.inputs, self.outputs)
        gr.on(
            [slider.input for slider in self.sliders],
            self._move,
            [self._start, *self.sliders],
            self.picture,
            trigger_mode="always_last",
            **QUIET,
        )
        self.reset_button.click(
            lambda start: [self._move(start, *[0.0] * SLIDERS), *[0.0] * SLIDERS],
            self._start,
            [self.picture, *self.sliders],
            **QUIET,
        )

    def reset(self, name: str) -> tuple[Any, Any, Any]:
        """The classes of another model, a start that it has, and the question about the rest."""
        exhibit = self._shared.exhibit(name)
        first = 0 if exhibit.has_classes else ALL_CLASSES
        return (
            gr.update(choices=class_choices(exhibit), value=first, visible=exhibit.has_classes),
            gr.update(value="mean"),
            gr.update(visible=exhibit.has_rest),
        )

    def begin(
        self,
        name: str,
        shelf: Shelf | None,
        origin: str,
        choice: int,
        seed: int,
        chosen: int,
        restricted: bool,
    ) -> list[Any]:
        """A new start, with all sliders at zero."""
        exhibit = self._shared.exhibit(name)
        label = label_of(exhibit, choice)
        of_class = "" if label is None else f" of class {exhibit.class_names[label]}"
        if origin == "image":
            x = (shelf or Shelf.of(exhibit)).image(chosen)
            z = from_image(exhibit.model, x, restricted and exhibit.has_rest)
            note = "moved from an image"
        elif origin == "sample":
            z = from_sample(exhibit.model, label, seed)
            note = f"moved from sample {seed}{of_class}"
        else:
            z, note = from_mean(exhibit.model, label), f"moved from the mean{of_class}"
        dims = exhibit.dims(label)
        start = _Start(exhibit.name, z, dims, label, note)
        sliders = [
            gr.update(
                value=0, visible=i < len(dims), label=f"dim {dims[i]}" if i < len(dims) else ""
            )
            for i in range(SLIDERS)
        ]
        return [
            start,
            self._move(start, *[0.0] * SLIDERS),
            gr.update(elem_classes=[] if origin == "image" else ["off"]),
            gr.update(visible=origin == "sample"),
            *sliders,
        ]

    def _move(self, start: _Start, *offsets: float) -> str:
        model = self._shared.exhibit(start.model).model
        bounded = [min(max(float(t), -_EXTENT), _EXTENT) for t in offsets[: len(start.dims)]]
        picture = enlarged(moved(model, start.z, start.dims, bounded, start.label))
        return figure(picture, "Image", f"{start.model}-explored", start.note)
