"""`genrev figures` on models without labels, on sheets of samples and on a folder of seeds."""

from functools import partial

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from spoken import spoken

from genrev.cli.main import main
from genrev.data import DataConfig, load_images
from genrev.figures import (
    class_traversals,
    image_grid,
    save_image,
    traversal_plane,
    traversal_rows,
    write_sheet,
)
from genrev.models import GenerativeModel, save
from genrev.models.walks import random_dims
from genrev.networks import RevNet, RevNetConfig
from genrev.priors import ActiveGaussian, ActiveUniform, ClassConditionalGaussian
from genrev.recipes import parse_config

ALWAYS = [
    "dimensions.png", "interpolations_full.png", "interpolations_restricted.png",
    "neighbours.png", "planes.png", "reconstructions.png", "samples.png", "traversals.png",
]  # fmt: skip


def write_config(folder, data: DataConfig, **trainer) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = parse_config({"data": data.plain(), "trainer": trainer}, "test")
    (folder / "config.yaml").write_text(yaml.safe_dump(config.plain()))


def tiny_model(prior=ActiveGaussian, size: int = 8, active: int = 12) -> GenerativeModel:
    net = RevNet(
        RevNetConfig(
            image_size=size,
            channels=3,
            hidden_channels=(8, 8, 8),
            blocks=(1, 1, 1),
            kernel_sizes=(3, 3, 1),
        )
    )
    dims = torch.randperm(net.config.latent_dim)[:active].sort().values
    return GenerativeModel(net, prior(net.config.latent_dim, dims))


@pytest.fixture
def data(tmp_path) -> DataConfig:
    """A folder of 24 coloured images without labels."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(24):
        pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return DataConfig(source=str(folder))


@pytest.fixture
def make_run(tmp_path, data):
    def make(prior=ActiveGaussian, active: int = 12):
        model, folder = tiny_model(prior, active=active).eval(), tmp_path / "run"
        write_config(folder, data)
        save(model, folder)
        return model, folder

    return make


def drawn(folder) -> list[str]:
    return sorted(path.name for path in (folder / "figures").iterdir())


def same(a, b) -> bool:
    with Image.open(a) as one, Image.open(b) as other:
        return one.size == other.size and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("prior", [ActiveGaussian, ActiveUniform])
def test_a_model_without_labels_gets_all_figures(capsys, make_run, prior):
    _, folder = make_run(prior)
    assert main(["figures", str(folder)]) == 0
    out, err = spoken(capsys)
    assert err == ""
    assert drawn(folder) == ALWAYS
    assert sorted(out.split()) == sorted(
        word for name in ALWAYS for word in ("wrote", str(folder / "figures" / name))
    )
    for name in ALWAYS:
        with Image.open(folder / "figures" / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 5


def test_one_active_dimension_has_no_plane(make_run):
    _, folder = make_run(active=1)
    assert main(["figures", str(folder)]) == 0
    assert drawn(folder) == [name for name in ALWAYS if name != "planes.png"]


def test_one_image_has_no_partner_to_interpolate_to(make_run, tmp_path):
    _, folder = make_run()
    for path in list((tmp_path / "images").iterdir())[1:]:
        path.unlink()
    assert main(["figures", str(folder)]) == 0
    assert drawn(folder) == [name for name in ALWAYS if not name.startswith("interpolations")]


def test_traversals_are_of_random_dimensions_the_widest_or_those_asked_for(
    make_run, data, tmp_path
):
    model, folder = make_run()
    images = load_images(data, "test")
    with torch.no_grad():
        std = model.encode(images.tensor(range(24))).numpy().std(axis=0, ddof=1)
    active = model.prior.active_dims.tolist()
    widest = sorted(active, key=lambda dim: -std[dim])[:8]
    chosen = {
        (): random_dims(model, 5),
        ("--seed", "3"): random_dims(model, 5, seed=3),
        ("--widest",): widest,
        ("--dims", "5", "0"): [5, 0],
    }
    for arguments, dims in chosen.items():
        assert main(["figures", str(folder), *arguments]) == 0
        expected = save_image(traversal_rows(model, dims), tmp_path / "expected.png")
        assert same(folder / "figures" / "traversals.png", expected)
        out = tmp_path / "traversals.png"  # the command that draws them alone agrees
        assert main(["traverse", str(folder), *arguments, "--out", str(out)]) == 0
        assert same(out, expected)
    expected = save_image(traversal_plane(model, dims=widest[:2]), tmp_path / "expected.png")
    assert same(folder / "figures" / "planes.png", expected)
    assert main(["traverse", str(folder), "--plane", "--out", str(out)]) == 0
    assert same(out, expected)


def test_traversals_of_classes_share_the_dimensions_of_figure_12(make_run, tmp_path):
    model, folder = make_run(partial(ClassConditionalGaussian, 3))
    with torch.no_grad():
        model.prior.std.uniform_(0, 1)
    save(model, folder)
    by_hand = model.prior.std.sum(0).argsort(descending=True)[:3]
    dims = model.prior.active_dims[by_hand].tolist()
    out = tmp_path / "traversals.png"
    for arguments, shown in (([], dims), (["--dims", "5", "0"], [5, 0])):
        assert main(["traverse", str(folder), *arguments, "--out", str(out)]) == 0
        assert same(out, save_image(class_traversals(model, shown), tmp_path / "expected.png"))
    assert main(["traverse", str(folder), "--label", "1", "--out", str(out)]) == 0
    assert same(out, save_image(traversal_rows(model, None, 1), tmp_path / "expected.png"))


def test_a_model_without_its_data_is_traversed_all_the_same(capsys, make_run, tmp_path):
    model, folder = make_run()
    (folder / "config.yaml").unlink()
    out = tmp_path / "traversals.png"
    assert main(["traverse", str(folder), "--out", str(out)]) == 0
    expected = save_image(traversal_rows(model, random_dims(model)), tmp_path / "expected.png")
    assert same(out, expected)
    assert main(["traverse", str(folder), "--widest", "--out", str(out)]) == 0
    assert same(out, save_image(traversal_rows(model), tmp_path / "expected.png"))
    nowhere = ["traverse", str(folder), "--data", "nowhere/at/all", "--out", str(out)]
    assert main([*nowhere, "--widest"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert main(nowhere) == 2
    assert "add --widest, or leave --data out" in capsys.readouterr().err
    for command in ("traverse", "figures"):
        assert main([command, str(folder), "--dims", "3", "--widest"]) == 2
        assert "leave one of them out" in capsys.readouterr().err


def test_a_dimension_that_does_not_exist_is_told(capsys, make_run):
    _, folder = make_run()
    assert main(["figures", str(folder), "--dims", "192"]) == 2
    assert "no latent dimension 192" in capsys.readouterr().err


def test_sheets_become_a_strip_and_an_animation(make_run, tmp_path):
    _, folder = make_run()
    samples = []
    for step in (0, 50, 1000):
        model = tiny_model()
        write_sheet(model, folder / "samples", step, 4)
        samples.append(model.sample(4, generator=torch.Generator().manual_seed(0)))
    (folder / "metrics.csv").write_text("step,loss,frechet\n10,1.0,\n20,0.5,33.0\n30,0.25,\n")
    assert main(["figures", str(folder)]) == 0
    more = ["losses.png", "progress.gif", "progress.png", "stability.png"]
    assert drawn(folder) == sorted(ALWAYS + more)
    strip = image_grid(torch.cat(samples), 4, row_labels=["step 0", "step 50", "step 1,000"])
    expected = save_image(strip, tmp_path / "expected.png")
    assert same(folder / "figures" / "progress.png", expected)
    with Image.open(folder / "figures" / "progress.gif") as gif:
        assert gif.n_frames == 3


def test_metrics_without_a_row_or_a_distance_are_left_out(make_run):
    _, folder = make_run()
    (folder / "metrics.csv").write_text("step,loss\n")
    assert main(["figures", str(folder)]) == 0
    assert drawn(folder) == ALWAYS
    (folder / "metrics.csv").write_text("step,loss,frechet\n10,1.0,\n")
    assert main(["figures", str(folder)]) == 0
    assert drawn(folder) == sorted([*ALWAYS, "losses.png"])


@pytest.fixture
def shown(monkeypatch):
    """What was asked to be drawn as learning curves."""
    calls = []
    from genrev.figures import curves as command

    draw = command.frechet_curves
    monkeypatch.setattr(
        command, "frechet_curves", lambda *given: calls.append(given) or draw(*given)
    )
    return calls


@pytest.mark.parametrize("features", [None, "/nowhere/inception768.pt"])
def test_a_folder_of_seeds_gets_learning_curves(capsys, tmp_path, data, shown, features):
    folder = tmp_path / "runs"
    for seed in (10, 2, 0):
        run = folder / f"seed{seed}"
        write_config(run, data, frechet_features=features, frechet_samples=500)
        (run / "metrics.csv").write_text(f"step,frechet\n10,{50 + seed}\n20,\n30,{20 + seed}\n")
    (folder / "seed3").mkdir()  # has not begun
    (folder / "seedless").mkdir()
    (folder / "reconstruction").mkdir()
    assert main(["figures", str(folder)]) == 0
    out, err = spoken(capsys)
    assert (out, err) == (f"wrote {folder / 'figures' / 'stability.png'}\n", "")
    assert drawn(folder) == ["stability.png"]
    ((runs, name, samples),) = shown
    assert list(runs) == ["seed0", "seed2", "seed10"]
    assert (name, samples) == (
        "classifier features" if features is None else "inception768",
        500,
    )


def test_features_are_named_without_running_them(tmp_path, data, shown):
    (tmp_path / "my_inception.pt").write_bytes(b"no program at all")
    run = tmp_path / "runs" / "seed0"
    write_config(run, data, frechet_features=str(tmp_path / "my_inception.pt"))
    (run / "metrics.csv").write_text("step,frechet\n10,50\n")
    assert main(["figures", str(tmp_path / "runs")]) == 0
    assert shown[0][1:] == ("my_inception", 2000)


def test_seeds_without_a_distance_get_their_losses(capsys, tmp_path, data):
    folder = tmp_path / "runs"
    write_config(folder / "seed0", data)
    assert main(["figures", str(folder)]) == 2
    assert "has a metrics.csv with numbers yet" in capsys.readouterr().err
    (folder / "seed0" / "metrics.csv").write_text("step,loss\n10,1\n")
    assert main(["figures", str(folder)]) == 0
    assert drawn(folder) == ["losses_seed0.png"]


def test_faces_of_32_pixels(real_data, tmp_path):
    folder = tmp_path / "run"
    write_config(folder, DataConfig(source=str(real_data / "celeba64"), image_size=32, limit=40))
    save(tiny_model(size=32), folder)
    assert main(["figures", str(folder)]) == 0
    assert drawn(folder) == ALWAYS
