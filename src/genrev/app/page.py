"""The page: a heading, the choice of the model, and one tab per question."""

import io
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import gradio as gr

from genrev.app.controls import QUIET, Shared, tab_bar
from genrev.app.exhibit import Exhibit
from genrev.app.pictures import Shelf
from genrev.app.tabs import ExploreTab, InterpolateTab, ReconstructTab, SamplesTab
from genrev.app.uploads import MOST_BYTES

# Not in page.css: what a media query there says reaches only what lies deeper in the page.
_NARROW = """<style>@media (max-width: 640px) {
  .gradio-container { overflow: clip !important; }
  .gradio-container .main.app { padding: 12px !important; }
}</style>"""
_SECONDS_KEPT = 3600  # an uploaded file; all of them leave when the server ends


def build_page(exhibits: Sequence[Exhibit]) -> gr.Blocks:
    """The page, not yet served; tabs are filled when it opens and when another model is chosen."""
    if not exhibits or len({exhibit.name for exhibit in exhibits}) != len(exhibits):
        raise ValueError("The page needs at least one model, and names that differ.")
    with gr.Blocks(
        title="genrev explorer",
        analytics_enabled=False,
        delete_cache=(_SECONDS_KEPT, _SECONDS_KEPT),
    ) as page:
        with gr.Row(elem_classes="head"):
            gr.HTML("<h1>genrev <span>latent explorer</span></h1>")
            shared = Shared(exhibits)
        tab_bar()
        samples, explore = SamplesTab(shared), ExploreTab(shared)
        reconstruct, interpolate = ReconstructTab(shared), InterpolateTab(shared)
        samples.wire()
        pickers = [explore.picker, reconstruct.picker, interpolate.a, interpolate.b]
        for tab in (explore, reconstruct, interpolate):
            tab.wire(pickers)
        occasions, model = [page.load, shared.model.input], shared.model
        asked, shown = [model, samples.seed, samples.count], [samples.label, samples.sheet]
        gr.on(occasions, samples.reset, asked, shown, **QUIET)
        shown = [explore.label, explore.origin, explore.rest]
        gr.on(occasions, explore.reset, model, shown, **QUIET).then(
            explore.begin, explore.inputs, explore.outputs, **QUIET
        )
        gr.on(occasions, interpolate.reset, model, interpolate.space, **QUIET)

        def shelve(name: str, before: Shelf | None) -> list[Any]:
            shelf = Shelf.of(shared.exhibit(name), before)
            strips = [shelf.strip(picker.first, picker.title) for picker in pickers]
            return [shelf, *(picker.first for picker in pickers), *strips]

        # Apart from the rest, because test images may have to be found first.
        shown = [shared.shelf, *(p.chosen for p in pickers), *(p.strip for p in pickers)]
        ready = gr.on(occasions, shelve, [model, shared.shelf], shown, **QUIET)
        for drawn in (reconstruct, interpolate):
            ready.then(drawn.draw, drawn.inputs, drawn.outputs, **QUIET)
    return page


def launch(page: gr.Blocks, host: str, port: int, share: bool) -> tuple[str, str | None]:
    """Serve the page from threads of its own; its address, and the public one if there is any."""
    # Gradio tells at length why there is no tunnel; one sentence of ours says it.
    with redirect_stdout(io.StringIO()) if share else nullcontext():
        page.launch(
            server_name=host,
            server_port=port,
            share=share,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            max_file_size=MOST_BYTES,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            # Fonts by name are those of the system; gradio's own would be fetched.
            theme=gr.themes.Default(
                primary_hue="indigo",
                font=["system-ui", "sans-serif"],
                font_mono=["ui-monospace", "monospace"],
            ).set(
                body_text_color_subdued="*neutral_500", body_text_color_subdued_dark="*neutral_400"
            ),
            css_paths=Path(__file__).with_name("page.css"),
            head=_NARROW,
        )
    return page.local_url, page.share_url if share else None
