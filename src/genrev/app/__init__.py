"""The latent explorer: a page in the browser to look at trained models (``genrev app``).

What a picture shows is computed by pure functions of model and state (``pictures``, ``uploads``,
``start``, ``comparison``, ``line``). ``tabs`` and ``page`` only wire them to controls, and
``serve`` keeps the page on this machine. Only ``tabs``, ``page`` and ``serve`` import gradio.
"""

from genrev.app.exhibit import Exhibit
from genrev.app.uploads import Upload, read_upload

__all__ = ["Exhibit", "Upload", "read_upload"]
