"""What the commands do with models of signals, of volumes, and of images that are not square."""

import pytest
from PIL import Image
from spoken import spoken

from genrev.cli.main import main
from genrev.models import GenerativeModel, save
from genrev.networks import RevNet, RevNetConfig
from genrev.priors import ActiveGaussian


def saved(folder, sizes):
    shape = {"hidden_channels": (3,), "blocks": (1,), "kernel_sizes": (1,)}
    net = RevNet(RevNetConfig(image_size=sizes, channels=1, **shape))
    save(GenerativeModel(net, ActiveGaussian(net.latent_dim)), folder)
    return str(folder)


@pytest.mark.parametrize(
    "words",
    [
        "sample RUN",
        "reconstruct RUN --data digits",
        "evaluate RUN --data digits",
        "compare RUN --data digits --out OUT",
        "fit-prior RUN --data digits --out OUT",
        "figures RUN --data digits --out OUT",
        "distance RUN digits",
        "push RUN owner/name --dry-run OUT",
        "app RUN",
    ],
)
@pytest.mark.parametrize(("sizes", "kind"), [((4,), "signals"), ((2, 2, 4), "volumes")])
def test_pictures_and_measurements_are_for_images(words, sizes, kind, tmp_path, capsys):
    run, out = saved(tmp_path / "run", sizes), tmp_path / "out"
    names = {"RUN": run, "OUT": str(out)}
    assert main([names.get(word, word) for word in words.split()]) == 2
    told = spoken(capsys)[1].strip().splitlines()[-1]
    assert f"a network of images, and this one is of {kind} of shape {(1, *sizes)}; " in told
    assert not list(tmp_path.glob("out*"))


def test_images_come_to_a_size_that_is_not_square(tmp_path, capsys):
    run, out = saved(tmp_path / "run", (4, 6)), str(tmp_path / "out.png")
    assert main(["sample", run, "--out", out]) == 0
    fits, other = tmp_path / "fits.png", tmp_path / "other.png"
    Image.new("L", (6, 4)).save(fits)
    Image.new("L", (4, 6)).save(other)
    assert main(["reconstruct", run, "--images", str(fits), "--out", out]) == 0
    assert main(["reconstruct", run, "--images", str(fits), str(other), "--out", out]) == 0
    told = capsys.readouterr().err
    assert f"data {other} becomes 1x4x6 (channels x height x width)" in told
    assert main(["app", run]) == 2
    assert "shows square images, and those of run are 4x6" in spoken(capsys)[1]
