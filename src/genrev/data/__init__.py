"""Images from anywhere, decoded once, and batches that depend on a seed and a step only."""

from genrev.data.config import DataConfig
from genrev.data.images import ImageData
from genrev.data.load import load_images
from genrev.data.loader import BatchLoader
from genrev.data.names import local_path
from genrev.data.single import image_files, read_image
from genrev.data.streaming.loader import StreamLoader
from genrev.data.streaming.sample import sample_stream
from genrev.data.streaming.stream import ImageStream, open_stream
from genrev.data.summary import announce, summary

__all__ = [
    "BatchLoader",
    "DataConfig",
    "ImageData",
    "ImageStream",
    "StreamLoader",
    "announce",
    "image_files",
    "load_images",
    "local_path",
    "open_stream",
    "read_image",
    "sample_stream",
    "summary",
]
