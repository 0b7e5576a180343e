"""Samples of the prior: the same sheet as ``genrev sample``, with its seed and class."""

import secrets
from typing import Any

import gradio as gr

from genrev.app.pictures import figure
from genrev.app.tabs.shared import (
    ALL_CLASSES,
    Shared,
    class_choices,
    help_line,
    label_of,
    picture_area,
    tab,
)
from genrev.figures import sample_sheet

__all__ = ["SamplesTab"]

_MOST = 100
_LARGEST_SEED = 2**32 - 1


class SamplesTab:
    """Controls of the samples; ``reset`` fits them to a model."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        with tab("Samples"):
            help_line("Images drawn from the prior. The same seed always gives the same images.")
            with gr.Row(elem_classes="controls"):
                self.seed = gr.Number(
                    0, label="Seed", precision=0, minimum=0, elem_id="seed", min_width=90
                )
                self.label = gr.Dropdown(
                    [("all classes", ALL_CLASSES)],
                    value=ALL_CLASSES,
                    label="Class",
                    elem_id="samples-label",
                    min_width=120,
                    filterable=False,
                )
                self.count = gr.Slider(
                    10,
                    _MOST,
                    value=_MOST,
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
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="private",
        )
        self.again.click(
            lambda: secrets.randbelow(1_000_000),
            None,
            self.seed,
            show_progress="hidden",
            api_visibility="private",
        ).then(self._draw, inputs, self.sheet, show_progress="hidden", api_visibility="private")

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
        n = min(max(int(count), 1), _MOST)
        picture = sample_sheet(exhibit.model, n, label, number)
        title = f"{n} samples"
        file_name = f"{exhibit.name}-samples-seed{number}"
        if label is not None:
            title += f" of class {exhibit.class_names[label]}"
            file_name += f"-class{label}"
        return figure(picture, title, file_name, f"{exhibit.name}, seed {number}")
