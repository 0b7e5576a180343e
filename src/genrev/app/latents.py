"""A latent that a visitor found: as a file, as a line of Python, and read again.

A file is NumPy's ``.npz`` with ``z``, shape (D,), and ``label``, the class or -1. One that is
brought back may be anything: sizes are checked before anything is unpacked, and nothing of it is
executed.
"""

import base64
import io
import zipfile
import zlib
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from genrev.errors import GenrevError
from genrev.models import GenerativeAutoencoder
from genrev.models.checks import num_classes_of
from genrev.models.conditions import takes_labels

_MOST_BYTES = 64 * 2**20  # unpacked
_DAMAGED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


class Latent(NamedTuple):
    """A latent z (D,), and its class where it has one."""

    z: Tensor
    label: int | None = None


def keep_buttons(model: GenerativeAutoencoder, name: str, latent: Latent) -> str:
    """HTML of two buttons: one saves the latent, the other copies the Python that decodes it."""
    file = f"{name}-latent.npz"
    uri = "data:application/octet-stream;base64," + base64.b64encode(_packed(latent)).decode()
    told = latent.label is not None and takes_labels(model)
    lines = (
        "import genrev, numpy, torch",
        f"model = genrev.load({name!r})",
        f"z = torch.from_numpy(numpy.load({file!r})['z'])[None]  # (1, {len(latent.z):,})",
        f"image = model.decode(z{f', torch.tensor([{latent.label}])' if told else ''})[0]",
    )
    return (
        f'<button class="save" type="button" title="Save the latent as .npz" '
        f'data-name="{escape(file)}" data-uri="{uri}">latent&nbsp;↓</button>'
        f'<button class="save" type="button" title="Copy the Python that decodes it" '
        f'data-copy="{escape(chr(10).join(lines))}">Python</button>'
    )


def read_latent(path: Path, model: GenerativeAutoencoder) -> Latent:
    """Read a file that is not to be trusted.

    Raises:
        GenrevError: no latent of this model.
    """
    cure = "open one that was saved here, of this model"
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MOST_BYTES:
                raise GenrevError(f"{path.name} is too large for a latent; {cure}.")
        with np.load(path, allow_pickle=False) as arrays:
            z, label = arrays["z"], int(arrays["label"]) if "label" in arrays else -1
    except _DAMAGED as error:
        raise GenrevError(f"{path.name} holds no latent; {cure}.") from error
    if z.shape != (model.prior.dim,) or z.dtype.kind != "f" or not np.isfinite(z).all():
        raise GenrevError(f"{path.name} holds no latent of {model.prior.dim:,} numbers; {cure}.")
    known = num_classes_of(model) > 1 and 0 <= label < num_classes_of(model)
    return Latent(torch.from_numpy(z.astype(np.float32)), label if known else None)


def _packed(latent: Latent) -> bytes:
    buffer = io.BytesIO()
    label = -1 if latent.label is None else latent.label
    np.savez_compressed(buffer, z=latent.z.float().cpu().numpy(), label=np.int64(label))
    return buffer.getvalue()
