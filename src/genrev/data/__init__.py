"""Images from anywhere, decoded once, and batches that depend on a seed and a step only."""

from genrev.data.config import DataConfig
from genrev.data.decode import read_image
from genrev.data.fitting import fitted
from genrev.data.images import ImageData, announce, summary
from genrev.data.load import load_images
from genrev.data.loader import BatchLoader
from genrev.data.sources import local_path
from genrev.data.streaming.loader import ImageStream, StreamLoader, open_stream, sample_stream
