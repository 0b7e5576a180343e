"""Latents that are kept: what is saved can be opened again, and Python decodes the same image."""

import base64
import html
import io
import re
import zipfile

import numpy as np
import pytest
import torch

from genrev.app.exhibit import moved, shifted
from genrev.app.latents import Latent, keep_buttons, read_latent
from genrev.errors import GenrevError


def saved(model, latent, name="digits"):
    found = re.search(r'data-uri="data:[^,]*,([^"]*)"', keep_buttons(model, name, latent))
    return base64.b64decode(found.group(1))


@pytest.mark.parametrize("label", [None, 2])
def test_what_is_saved_is_opened_again(classes, tmp_path, label):
    z = shifted(classes, classes.prior.center(label).detach(), [3, 20], [1.0, -2.0], label)
    (tmp_path / "a.npz").write_bytes(saved(classes, Latent(z, label)))
    opened = read_latent(tmp_path / "a.npz", classes)
    assert torch.equal(opened.z, z)
    assert opened.label == label


def test_the_python_decodes_the_picture(classes, tmp_path, monkeypatch):
    start = classes.prior.center(1).detach()
    z = shifted(classes, start, [17], [1.5], 1)
    (tmp_path / "it's-latent.npz").write_bytes(saved(classes, Latent(z, 1)))
    text = re.search(r'data-copy="([^"]*)"', keep_buttons(classes, "it's", Latent(z, 1))).group(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("genrev.load", lambda name: classes)
    names = {}
    with torch.no_grad():
        exec(html.unescape(text), names)
    torch.testing.assert_close(names["image"], moved(classes, start, [17], [1.5], 1))


def packed(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def bomb():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("z.npy", bytes(65 * 2**20))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no zip", "holds no latent"),
        (packed(x=np.zeros(64, np.float32)), "holds no latent"),
        (packed(z=np.zeros(63, np.float32)), "holds no latent of 64 numbers"),
        (packed(z=np.full(64, np.nan, np.float32)), "holds no latent of 64 numbers"),
        (packed(z=np.array([{}] * 64)), "holds no latent"),  # a pickle
        (bomb(), "is too large"),
    ],
)
def test_other_files_are_refused_in_a_sentence(gaussian, tmp_path, content, told):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(GenrevError, match=f"x.npz {told}.*; open one that was saved here"):
        read_latent(tmp_path / "x.npz", gaussian)


def test_a_class_that_the_model_does_not_know_is_none(gaussian, tmp_path):
    (tmp_path / "x.npz").write_bytes(packed(z=np.zeros(64, np.float32), label=7))
    assert read_latent(tmp_path / "x.npz", gaussian).label is None
