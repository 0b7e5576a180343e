"""A visitor's shelf: keys that stay, room that ends, names that are escaped."""

import re

import pytest
import torch

from genrev.app import Exhibit
from genrev.app.exhibit import EXAMPLES, SLIDERS
from genrev.app.pictures import MOST_OWN, Shelf


def test_an_image_keeps_its_key_while_it_is_there(exhibit):
    shelf = Shelf.of(exhibit)
    images = [torch.full((1, 8, 8), i / 100) for i in range(MOST_OWN + 3)]
    keys = []
    for x in images:
        shelf = shelf.add(x)
        keys.append(shelf.newest)
    assert len(set(keys)) == len(keys)
    assert len(shelf.keys()) == EXAMPLES + MOST_OWN
    for key, x in list(zip(keys, images, strict=True))[3:]:
        assert torch.equal(shelf.image(key)[0], x)
    assert shelf.keys()[0] == keys[-1]


@pytest.mark.parametrize("key", [-1, -99, 12, 10**9])
def test_a_key_that_is_not_there_gives_the_first_example(exhibit, key):
    shelf = Shelf.of(exhibit)
    for _ in range(MOST_OWN + 1):
        shelf = shelf.add(torch.zeros(1, 8, 8))
    assert torch.equal(shelf.image(key), shelf.examples[:1])


def test_another_model_of_the_same_shape_keeps_the_visitors_images(gaussian, classes):
    shelf = Shelf.of(Exhibit("g", gaussian, ["all"])).add(torch.ones(1, 8, 8))
    after = Shelf.of(Exhibit("c", classes, "abc"), shelf)
    assert torch.equal(after.image(shelf.newest), torch.ones(1, 1, 8, 8))
    other = Shelf(torch.zeros(4, 3, 8, 8), (torch.ones(3, 8, 8),))
    assert Shelf.of(Exhibit("c", classes, "abc"), other).own == ()


def test_the_strip_marks_what_is_chosen(exhibit):
    shelf = Shelf.of(exhibit).add(torch.zeros(1, 8, 8))
    html = shelf.strip(4, "From")
    assert re.findall(r'data-key="(-?\d+)"[^>]*aria-pressed="true"', html) == ["4"]
    assert html.count("<button") == EXAMPLES + 1


def test_examples_are_test_images_or_else_samples(gaussian):
    calls = []

    def find():
        calls.append(1)
        return torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    exhibit = Exhibit("g", gaussian, ["all"], find)
    assert torch.equal(exhibit.examples(), find()[:EXAMPLES])
    exhibit.dims()
    assert len(calls) == 2  # the exhibit's one, and this test's
    alone = Exhibit("g", gaussian, ["all"])
    assert torch.equal(alone.examples(), alone.examples())


def test_sliders_move_what_is_widest(gaussian, classes):
    by_class = Exhibit("c", classes, "abc")
    assert by_class.dims(0) == [17, 20, 41, 3]  # by the standard deviations of conftest
    assert by_class.dims(1) == [3, 17, 20, 41]
    assert sorted(Exhibit("g", gaussian, ["all"]).dims()) == [3, 17, 20, 41, 60]
    assert len(Exhibit("g", gaussian, ["all"]).dims()) <= SLIDERS


def test_there_is_one_name_per_class(classes):
    with pytest.raises(ValueError, match="2 names for 3 classes"):
        Exhibit("c", classes, "ab")
