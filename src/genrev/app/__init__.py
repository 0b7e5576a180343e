"""The latent explorer (``genrev app``); ``controls``, ``tabs`` and ``page`` alone import gradio."""

from genrev.app.exhibit import Exhibit
from genrev.app.uploads import Upload, read_upload
