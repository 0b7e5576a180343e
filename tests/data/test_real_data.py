import os
from pathlib import Path

import numpy as np
import pytest

from genrev.data import load_images

DATA = os.environ.get("GENREV_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="GENREV_DATA does not name a folder of data")


def test_mnist_from_parquet():
    root = str(Path(DATA or "", "mnist"))
    train, test = load_images(root), load_images(root, "test")
    assert (train.images.shape, test.images.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert train.class_names == test.class_names == tuple("0123456789")
    # Known sizes of the classes of MNIST, and the known mean of its training pixels.
    classes = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(train.labels).tolist() == classes
    assert train.images.mean() / 255 == pytest.approx(0.1307, abs=1e-4)


def test_celeba64_from_parquet():
    data = load_images(str(Path(DATA or "", "celeba64")), "test")
    assert data.images.shape == (5000, 3, 64, 64)
    assert data.class_names == ("all",)
