"""Going on with a stranger's run executes nothing that lies in its folder."""

import shutil
import sys
import zipfile

import pytest
import torch
import yaml
from run_files import ONE_LAYER, changed, config_of, write_config

from genrev.cli.main import main
from genrev.training import RunFolder, train

CONFIG = config_of(
    batch_size=20, network=ONE_LAYER, prior={"active_dims": 4}, trainer={"max_steps": 4}
)
EXECUTED = []
LAUGHS = "l0: &l0 [1, 2]\n" + "".join(
    f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


class Malicious:
    def __reduce__(self):
        return EXECUTED.append, ("code of a stranger",)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    write_config(folder, CONFIG)
    return folder


def refused(run, capsys, message):
    assert main(["resume", str(run)]) == 2
    error = capsys.readouterr().err
    told = [line for line in error.splitlines() if line.startswith("genrev: ")]
    assert message in told[-1]
    assert "Traceback" not in error
    assert EXECUTED == []


def test_a_malicious_checkpoint_is_not_unpickled(run, capsys):
    torch.save({"state_dict": Malicious(), "epoch": 0}, run / "checkpoints/step3.ckpt")
    refused(run, capsys, "holds more than numbers and was not read (Unsupported global: GLOBAL")


def test_an_archive_that_holds_no_checkpoint_is_told_with_the_cause(run, capsys):
    with zipfile.ZipFile(run / "checkpoints/step3.ckpt", "w") as archive:
        archive.writestr("a.txt", "text")
    refused(run, capsys, "step3.ckpt cannot be read (")


@pytest.mark.parametrize("values", [{}, [1], {"state_dict": {}, "reported": {}}])
def test_what_is_no_checkpoint_is_told(run, capsys, values):
    torch.save(values, run / "checkpoints/step3.ckpt")
    refused(run, capsys, "step3.ckpt is not a checkpoint of this genrev; delete it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe: !!python/object/apply:os.system ['touch executed']\n", "not valid YAML"),
        ("!!python/object/new:genrev.training.RunConfig {}\n", "not valid YAML"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("network: os.system\n", "os.system"),
        (LAUGHS, "more than 10,000 values"),
    ],
    ids=["call", "object", "deep", "class path", "laughs"],
)
def test_a_malicious_configuration_is_plain_yaml(run, capsys, tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (run / "config.yaml").write_text(text)
    refused(run, capsys, message)
    assert not (tmp_path / "executed").exists()


PROGRAM = """
from pathlib import Path
Path("executed").write_text("code of a stranger")
"""


@pytest.mark.parametrize(
    "name", ["stranger", "stranger:Method", "genrev_stranger.method", "./s.py"]
)
@pytest.mark.parametrize("section", ["method", "prior", "network"])
def test_an_unknown_choice_imports_nothing(run, capsys, monkeypatch, section, name):
    """Not even a file of that name in the run's folder, with that folder on the path."""
    monkeypatch.chdir(run)
    monkeypatch.syspath_prepend(run)
    for file in ("stranger.py", "s.py"):
        (run / file).write_text(PROGRAM)
    (run / "genrev_stranger").mkdir()
    (run / "genrev_stranger/method.py").write_text(PROGRAM)
    for module in ("stranger", "genrev_stranger", "genrev_stranger.method"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    values = CONFIG.plain()
    values[section]["name" if section == "method" else "kind"] = name
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    before = set(sys.modules)
    refused(run, capsys, f"got '{name}'; one of your own is loaded by --plugin FILE.")
    assert not (run / "executed").exists()
    assert not {m for m in set(sys.modules) - before if "stranger" in m or m == "s"}


class LeavesATrace(torch.nn.Module):
    """Features of an image, and a file."""

    def __init__(self, trace):
        super().__init__()
        self.trace = trace

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = torch.from_file(self.trace, shared=True, size=1)  # unused, it would be left out
        return x.float().mean(1).mean(1)[:, :4] + 0 * made


@pytest.fixture
def program(run, monkeypatch, tmp_path):
    """A TorchScript file in the run's folder that its configuration names, and its trace."""
    monkeypatch.setenv("GENREV_CACHE", str(tmp_path / "cache"))
    trace, file = tmp_path / "executed", run / "features.pt"
    torch.jit.script(LeavesATrace(str(trace))).save(file)
    measured = {"frechet_every": 2, "frechet_samples": 20, "frechet_features": str(file)}
    write_config(run, changed(CONFIG, trainer=measured))
    return file, trace


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")
def test_a_program_that_a_run_names_runs_when_the_user_names_it(run, program, capsys, tmp_path):
    file, trace = program
    refused(run, capsys, f"say `genrev resume {run} --trust {file}`")
    assert main(["train", str(run / "config.yaml"), "--out", str(tmp_path / "new")]) == 2
    assert f"add --trainer.frechet_features {file}" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    shutil.copytree(run, tmp_path / "seeds/seed0")
    (tmp_path / "seeds/seed0/metrics.csv").write_text("step,frechet\n2,5.0\n")
    assert main(["figures", str(tmp_path / "seeds")]) == 0  # says what the features are called
    assert not trace.exists()

    assert main(["resume", str(run), "--trust", str(file)]) == 0
    assert trace.exists()
    assert RunFolder(run).finished

    # From then on that file is known, and a file of other content in its place is not.
    (run / "model.safetensors").unlink()
    assert main(["resume", str(run)]) == 0
    (run / "model.safetensors").unlink()
    trace.unlink()
    file.write_bytes(file.read_bytes() + b" ")
    refused(run, capsys, "--trust")
    assert not trace.exists()


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")
def test_a_program_named_on_the_command_line_needs_no_more_words(run, program, tmp_path):
    file, trace = program
    out, named = tmp_path / "mine", ["--trainer.frechet_features", str(file)]
    assert main(["train", str(run / "config.yaml"), *named, "--out", str(out)]) == 0
    assert trace.exists()
    (out / "model.safetensors").unlink()
    assert main(["resume", str(out)]) == 0


def test_folders_of_seeds_ask_too(run, program, capsys):
    _, trace = program
    plan = {"seeds": 2, "config": yaml.safe_load((run / "config.yaml").read_text())}
    (run / "seeds.yaml").write_text(yaml.safe_dump(plan))
    refused(run, capsys, "--trust")
    assert not trace.exists()


@pytest.mark.parametrize(
    "text", ["[" * 5000, '{"history": 1}', "{}", '{"history": [' + "1," * 2**23 + "1]}"]
)
def test_a_foreign_environment_is_told(run, capsys, text):
    (run / "environment.json").write_text(text)
    refused(run, capsys, "environment.json was not written by genrev")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that was interrupted after its third step."""
    run = tmp_path_factory.mktemp("trained") / "run"
    train(changed(CONFIG, trainer={"checkpoint_every": 3}), run)
    (run / "model.safetensors").unlink()
    (_, last) = RunFolder(run).newest_checkpoint()
    last.unlink()
    return run


def copied(trained, folder):
    shutil.copytree(trained, folder)
    return folder, folder / "checkpoints/step3.ckpt"


def test_a_checkpoint_that_unpacks_to_more_than_it_is_counts_as_none(trained, tmp_path):
    run, checkpoint = copied(trained, tmp_path / "run")
    assert RunFolder(run).newest_checkpoint() == (3, checkpoint)
    with zipfile.ZipFile(trained / "checkpoints/step3.ckpt") as old:
        parts = {part.filename: old.read(part) for part in old.infolist()}
    with zipfile.ZipFile(checkpoint, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in parts.items():
            new.writestr(name, content)
        new.writestr("archive/data/bomb", bytes(10**7))
    assert RunFolder(run).newest_checkpoint() == (0, None)


def test_wide_measurements_are_refused(trained, tmp_path, capsys):
    run, _ = copied(trained, tmp_path / "run")
    (run / "metrics.csv").write_text(",".join(["step", *map(str, range(10**5))]) + "\n1" * 10**5)
    refused(run, capsys, "100,001 columns")


def test_nothing_is_written_through_a_link(trained, tmp_path):
    run, checkpoint = copied(trained, tmp_path / "run")
    checkpoint.unlink()
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("checkpoints/step3.partial", "environment.json.1", "metrics.csv"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(precious)
    assert main(["resume", str(run)]) == 0
    assert precious.read_text() == "mine"
