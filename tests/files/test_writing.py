"""A file or folder is there whole or not at all."""

import stat

import pytest
import torch
from safetensors.torch import save_file

from genrev.files.writing import replacing, write_text


def fail_half_way(path):
    with replacing(path) as temporary:
        temporary.write_text("half")
        path.parent.write_text("")


def test_what_fails_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(IsADirectoryError):
        fail_half_way(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_at_once_with_all_that_is_in_it(tmp_path):
    path = tmp_path / "folder"
    with replacing(path) as temporary:
        temporary.mkdir()
        (temporary / "a").touch()
        assert not path.exists()
    assert [file.name for file in path.iterdir()] == ["a"]
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_are_the_usual_ones_whatever_writes(tmp_path):
    """safetensors lets nobody else read its files."""
    (tmp_path / "usual").touch()
    with replacing(tmp_path / "weights") as temporary:
        save_file({"a": torch.zeros(1)}, temporary)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "weights")]
    assert modes[0] == modes[1]
