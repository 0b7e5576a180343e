"""A row of small pictures to choose one from, with a button to bring an image along."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from genrev.app.shelf import Shelf
from genrev.app.tabs.shared import Shared
from genrev.app.uploads import MOST_BYTES, TOO_LONG, read_upload
from genrev.errors import GenrevError

__all__ = ["Picker"]

_ERROR = '<p class="note error" role="alert">{}</p>'
_CHOOSE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('.thumb');
  if (button) trigger('select', {key: Number(button.dataset.key)});
});
"""
# Gradio refuses a file of too many bytes in the browser, and says nothing.
_TOO_LONG = f"""
element.closest('.picker').addEventListener('change', (event) => {{
  const file = event.target.files && event.target.files[0];
  if (!file || file.size <= {MOST_BYTES}) return;
  event.stopImmediatePropagation();
  event.target.value = '';
  props.value = '{_ERROR.format(TOO_LONG.format("The file"))}';
}}, true);
"""
_WAITING = '<p class="note">Looking for images…</p>'
# The usual ones of genrev.data.decode, which takes seconds to import.
_ENDINGS = [
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".webp", ".avif", ".gif", ".bmp",
    ".dib", ".tif", ".tiff", ".ico", ".tga", ".pbm", ".pgm", ".ppm", ".pnm",
]  # fmt: skip


def _upload_button(elem_id: str) -> gr.UploadButton:
    """A button that takes uploaded files, and never fetches the address a client may send."""
    button = gr.UploadButton(
        "Upload…", file_types=_ENDINGS, size="sm", elem_id=elem_id, min_width=90, scale=0
    )
    move = button.async_move_resource_to_block_cache

    async def move_local(path: str | Path | None) -> str | None:
        if str(path).lower().startswith(("http:", "https:")):
            raise gr.Error("Only files can be uploaded, no addresses.", print_exception=False)
        return await move(path)

    # On the instance: gradio takes a subclass for a component with a front end of its own.
    button.async_move_resource_to_block_cache = move_local
    return button


class Picker:
    """Chooses an image of the visitor's shelf.

    Args:
        shared: models and shelf.
        title: what the image is for.
        elem_id: prefix of the ids of its parts.
        first: key of the image chosen at first.
    """

    def __init__(self, shared: Shared, title: str, elem_id: str, first: int = 0) -> None:
        self._shared, self._title, self.first = shared, title, first
        self.chosen = gr.State(first)
        with gr.Column(elem_classes="picker", min_width=240):
            with gr.Row(elem_classes="picker-head"):
                gr.HTML(f"<b>{escape(title)}</b>", elem_classes="picker-title")
                self.upload = _upload_button(f"{elem_id}-upload")
            self.strip = gr.HTML(_WAITING, elem_id=f"{elem_id}-strip", js_on_load=_CHOOSE)
            self.note = gr.HTML(
                elem_id=f"{elem_id}-note", elem_classes="picker-note", js_on_load=_TOO_LONG
            )

    def render(self, shelf: Shelf, chosen: int) -> str:
        """The row of small pictures."""
        return shelf.strip(chosen, self._title)

    def wire(
        self,
        everyone: Sequence["Picker"],
        update: Callable[..., Any],
        inputs: list[Any],
        outputs: list[Any],
    ) -> None:
        """Call ``update`` whenever an image is chosen; an uploaded one appears in all pickers."""
        self.strip.select(
            self._choose,
            [self._shared.shelf],
            [self.chosen, self.strip],
            show_progress="hidden",
            api_visibility="private",
        ).then(update, inputs, outputs, show_progress="hidden", api_visibility="private")
        self.upload.upload(
            self._bring,
            [self.upload, self._shared.model, self._shared.shelf, self.chosen],
            [self._shared.shelf, self.chosen, self.note],
            show_progress="hidden",
            api_visibility="private",
        ).then(
            lambda shelf, *chosen: [
                picker.render(shelf, key) for picker, key in zip(everyone, chosen, strict=True)
            ],
            [self._shared.shelf, *(picker.chosen for picker in everyone)],
            [picker.strip for picker in everyone],
            show_progress="hidden",
            api_visibility="private",
        ).then(update, inputs, outputs, show_progress="hidden", api_visibility="private")

    def _choose(self, shelf: Shelf, event: gr.EventData) -> tuple[int, str]:
        key = event.key if isinstance(event.key, int) else self.first
        return key, self.render(shelf, key)

    def _bring(self, path: str, name: str, shelf: Shelf, chosen: int) -> tuple[Shelf, int, str]:
        try:
            upload = read_upload(Path(path), self._shared.exhibit(name).model.image_shape)
        except GenrevError as error:
            return shelf, chosen, _ERROR.format(escape(str(error)))
        shelf = shelf.add(upload.x)
        return shelf, shelf.newest, f'<p class="note" role="status">{escape(upload.note)}</p>'
