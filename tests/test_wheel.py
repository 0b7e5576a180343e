"""The wheel holds what a user needs and little else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_has_recipes_and_the_model_and_is_small(tmp_path):
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("genrev-*.whl")
    assert wheel.stat().st_size < 15_000_000
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert {name.split("/")[0] for name in package} == {"genrev"}
    in_source = {str(p.relative_to(ROOT / "src")) for p in (ROOT / "src").rglob("*.yaml")}
    in_source |= {f"genrev/models/shipped/mnist/{n}" for n in ("config.json", "model.safetensors")}
    assert in_source | {"genrev/py.typed"} <= names
    assert not [name for name in names if name.endswith((".pyc", ".ckpt", ".pt", ".pkl"))]
