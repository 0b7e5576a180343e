"""Controls that the tabs share: the choice of the model, pickers of images, and small parts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from genrev.app.exhibit import Exhibit
from genrev.app.pictures import Shelf
from genrev.app.uploads import MOST_BYTES, TOO_LONG, read_upload
from genrev.errors import GenrevError

ALL_CLASSES = -1
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""How every event of the page is wired."""
TABS = {
    "Samples": "Images drawn from the prior. The same seed always gives the same images.",
    "Explore": "Each slider moves one latent dimension, in standard deviations; the widest "
    "dimensions come first.",
    "Reconstruct": "How much of an image the active dimensions know, and how much the whole latent "
    "space does.",
    "Interpolate": "Drag the scrubber to walk from one image to the other.",
}
"""What each tab is for."""

# The pictures are part of the page already, so saving one needs no server.
_SAVE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('.save');
  if (!button) return;
  if (button.dataset.copy) {
    navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = 'copied';
    return;
  }
  const link = document.createElement('a');
  link.href = button.dataset.uri || button.closest('figure').querySelector('img').src;
  link.download = button.dataset.name;
  link.click();
});
"""
# Not gradio's tabs: those exist only once they are opened (6.31), when what fills them has passed.
_OPEN = """
element.addEventListener('click', (event) => {
  const chosen = event.target.closest('[role=tab]');
  if (!chosen) return;
  document.body.dataset.tab = chosen.dataset.tab;
  for (const tab of element.querySelectorAll('[role=tab]'))
    tab.setAttribute('aria-selected', String(tab === chosen));
});
"""
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


class Shared:
    """Models by name, the drop-down list that chooses one, and the shelf of the visitor."""

    def __init__(self, exhibits: Sequence[Exhibit]) -> None:
        self._exhibits = {exhibit.name: exhibit for exhibit in exhibits}
        names = list(self._exhibits)
        self.model = gr.Dropdown(
            names, value=names[0], label="Model", container=False, elem_id="model",
            visible=len(names) > 1, filterable=False,
        )  # fmt: skip
        self.shelf = gr.State(None)

    def exhibit(self, name: str) -> Exhibit:
        """The model of that name; names come from the page, so an unknown one is the first."""
        return self._exhibits.get(name) or next(iter(self._exhibits.values()))


def tab_bar() -> None:
    """The titles of the tabs, the first of which is open."""
    buttons = "".join(
        f'<button type="button" role="tab" data-tab="{title.lower()}" '
        f'aria-controls="tab-{title.lower()}" aria-selected="{str(not i).lower()}">{title}</button>'
        for i, title in enumerate(TABS)
    )
    gr.HTML(f'<div class="tab-bar" role="tablist">{buttons}</div>', js_on_load=_OPEN)


@contextmanager
def tab(title: str) -> Iterator[None]:
    """A tab, which begins with what it is for; the browser decides which is seen (see page.css)."""
    with gr.Column(elem_id=f"tab-{title.lower()}", elem_classes="tab"):
        gr.HTML(f'<p class="help">{escape(TABS[title])}</p>')
        yield


def picture_area(elem_id: str) -> gr.HTML:
    """A place for pictures whose buttons save them."""
    return gr.HTML(elem_id=elem_id, elem_classes="pictures", js_on_load=_SAVE)


def class_choices(exhibit: Exhibit) -> list[tuple[str, int]]:
    """What a drop-down list of classes offers."""
    classes = [(name, label) for label, name in enumerate(exhibit.class_names)]
    return [("all classes", ALL_CLASSES), *classes]


def class_list(elem_id: str, min_width: int) -> gr.Dropdown:
    """A drop-down list of classes, filled when a model is shown."""
    return gr.Dropdown(
        [("all classes", ALL_CLASSES)], value=ALL_CLASSES, label="Class", elem_id=elem_id,
        min_width=min_width, filterable=False,
    )  # fmt: skip


def label_of(exhibit: Exhibit, choice: int | None) -> int | None:
    """The class chosen; ``None`` for all of them and where there are none."""
    known = exhibit.has_classes and choice in range(len(exhibit.class_names))
    return choice if known else None


class Picker:
    """Chooses an image of the visitor's shelf; ``first`` is the key of the one chosen at first."""

    def __init__(self, shared: Shared, title: str, elem_id: str, first: int = 0) -> None:
        self._shared, self.title, self.first = shared, title, first
        self.chosen = gr.State(first)
        with gr.Column(elem_classes="picker", min_width=240):
            with gr.Row(elem_classes="picker-head"):
                gr.HTML(f"<b>{escape(title)}</b>", elem_classes="picker-title")
                self.upload = upload_button("Upload…", _ENDINGS, f"{elem_id}-upload")
            self.strip = gr.HTML(_WAITING, elem_id=f"{elem_id}-strip", js_on_load=_CHOOSE)
            self.note = gr.HTML(
                elem_id=f"{elem_id}-note", elem_classes="picker-note", js_on_load=_TOO_LONG
            )

    def wire(self, everyone: Sequence["Picker"], update: Callable[..., Any], *ends: Any) -> None:
        """Call ``update`` when an image is chosen; one that was uploaded appears in all pickers."""

        def render(shelf: Shelf, *chosen: int) -> list[str]:
            return [shelf.strip(key, p.title) for p, key in zip(everyone, chosen, strict=True)]

        shelf, choice = self._shared.shelf, [self.chosen, self.strip]
        self.strip.select(self._choose, [shelf], choice, **QUIET).then(update, *ends, **QUIET)
        brought = [self.upload, self._shared.model, shelf, self.chosen]
        chosen, strips = [p.chosen for p in everyone], [p.strip for p in everyone]
        self.upload.upload(self._bring, brought, [shelf, self.chosen, self.note], **QUIET).then(
            render, [shelf, *chosen], strips, **QUIET
        ).then(update, *ends, **QUIET)

    def _choose(self, shelf: Shelf, event: gr.EventData) -> tuple[int, str]:
        key = event.key if isinstance(event.key, int) else self.first
        return key, shelf.strip(key, self.title)

    def _bring(self, path: str, name: str, shelf: Shelf, chosen: int) -> tuple[Shelf, int, str]:
        try:
            upload = read_upload(Path(path), self._shared.exhibit(name).model.image_shape)
        except GenrevError as error:
            return shelf, chosen, error_note(error)
        shelf = shelf.add(upload.x)
        return shelf, shelf.newest, f'<p class="note" role="status">{escape(upload.note)}</p>'


def error_note(error: GenrevError) -> str:
    """HTML of what went wrong with a visitor's file."""
    return _ERROR.format(escape(str(error)))


def upload_button(title: str, endings: list[str], elem_id: str) -> gr.UploadButton:
    """A button that takes uploaded files, and never fetches the address a client may send."""
    button = gr.UploadButton(
        title,
        file_types=endings,
        size="sm",
        elem_id=elem_id,
        scale=0,
        min_width=90 if len(title) < 10 else 130,
    )
    move = button.async_move_resource_to_block_cache

    async def move_local(path: str | Path | None) -> str | None:
        if str(path).lower().startswith(("http:", "https:")):
            raise gr.Error("Only files can be uploaded, no addresses.", print_exception=False)
        return await move(path)

    # On the instance: gradio takes a subclass for a component with a front end of its own.
    button.async_move_resource_to_block_cache = move_local
    return button
