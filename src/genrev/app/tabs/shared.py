"""What the tabs share: the models, the one on show, the visitor's shelf, and a few controls."""

from collections.abc import Sequence
from html import escape

import gradio as gr

from genrev.app.exhibit import Exhibit

__all__ = [
    "ALL_CLASSES",
    "Shared",
    "class_choices",
    "help_line",
    "label_of",
    "picture_area",
    "tab",
    "tab_bar",
]

ALL_CLASSES = -1

# The pictures are part of the page already, so saving one needs no server.
_SAVE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('.save');
  if (!button) return;
  const link = document.createElement('a');
  link.href = button.closest('figure').querySelector('img').src;
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


class Shared:
    """Models by name, the drop-down list that chooses one, and the shelf of the visitor."""

    def __init__(self, exhibits: Sequence[Exhibit]) -> None:
        self._exhibits = {exhibit.name: exhibit for exhibit in exhibits}
        names = list(self._exhibits)
        self.model = gr.Dropdown(
            names,
            value=names[0],
            label="Model",
            container=False,
            elem_id="model",
            visible=len(names) > 1,
            filterable=False,
        )
        self.shelf = gr.State(None)

    def exhibit(self, name: str) -> Exhibit:
        """The model of that name; names come from the page, so an unknown one is the first."""
        return self._exhibits.get(name) or next(iter(self._exhibits.values()))


def tab_bar(titles: Sequence[str]) -> None:
    """The titles of the tabs, the first of which is open."""
    buttons = "".join(
        f'<button type="button" role="tab" data-tab="{title.lower()}" '
        f'aria-controls="tab-{title.lower()}" aria-selected="{str(not i).lower()}">{title}</button>'
        for i, title in enumerate(titles)
    )
    gr.HTML(f'<div class="tab-bar" role="tablist">{buttons}</div>', js_on_load=_OPEN)


def tab(title: str) -> gr.Column:
    """A tab; which one is seen is decided in the browser (see page.css)."""
    return gr.Column(elem_id=f"tab-{title.lower()}", elem_classes="tab")


def picture_area(elem_id: str) -> gr.HTML:
    """A place for pictures whose buttons save them."""
    return gr.HTML(elem_id=elem_id, elem_classes="pictures", js_on_load=_SAVE)


def help_line(text: str) -> None:
    """One line that says what a tab is for."""
    gr.HTML(f'<p class="help">{escape(text)}</p>')


def class_choices(exhibit: Exhibit) -> list[tuple[str, int]]:
    """What a drop-down list of classes offers."""
    classes = [(name, label) for label, name in enumerate(exhibit.class_names)]
    return [("all classes", ALL_CLASSES), *classes]


def label_of(exhibit: Exhibit, choice: int | None) -> int | None:
    """The class chosen; ``None`` for all of them and where there are none."""
    if choice is None or not exhibit.has_classes or not 0 <= choice < len(exhibit.class_names):
        return None
    return choice
