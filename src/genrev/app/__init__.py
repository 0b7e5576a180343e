"""The latent explorer: a page in the browser to look at trained models (``genrev app``).

What a picture shows is computed by pure functions of model and state (``exhibit``, ``pictures``,
``uploads``). ``controls``, ``tabs`` and ``page`` only wire them, and they alone import gradio;
``serve`` keeps the page on this machine.
"""

from genrev.app.exhibit import Exhibit
from genrev.app.uploads import Upload, read_upload
