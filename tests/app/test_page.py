"""The page as a visitor uses it: a server of its own, headless Chromium, every tab.

Set GENREV_SCREENSHOTS to a folder to look at what the tests saw.
"""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from bad_files import png_header
from PIL import Image

from genrev.app.uploads import MOST_BYTES
from genrev.models import GenerativeModel, save
from genrev.networks import revnet
from genrev.priors import ActiveGaussian

pytestmark = pytest.mark.browser

TABS = ("Samples", "Explore", "Reconstruct", "Interpolate")
HERE = "127.0.0.1"
PATIENCE = 120_000  # milliseconds; the machine may be busy


class Recorder:
    """Stands where a proxy would: whoever wants to leave the machine comes by."""

    def __init__(self):
        self.socket = socket.create_server((HERE, 0))
        self.port = self.socket.getsockname()[1]
        self.seen = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            connection, _ = self.socket.accept()
            with connection:
                self.seen.append(connection.recv(200))


class Server:
    """The command in a process of its own, on three models."""

    def __init__(self, folder):
        torch.manual_seed(0)
        small = GenerativeModel(revnet("digits"), ActiveGaussian(64, torch.arange(10, 16)))
        save(small, folder / "small")
        whole = GenerativeModel(revnet("digits"), ActiveGaussian(64, None, None))
        save(whole, folder / "whole")
        self.outside = Recorder()
        with socket.create_server((HERE, 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://{HERE}:{self.port}"
        self.log = folder / "log.txt"
        proxy = f"http://{HERE}:{self.outside.port}"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy")
        environment = os.environ | dict.fromkeys(names, proxy) | {"no_proxy": HERE}
        command = [sys.executable, "-m", "genrev", "app", "mnist"]
        command += [str(folder / "small"), str(folder / "whole")]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=folder,
            )

    def wait(self):
        for _ in range(1500):
            assert self.process.poll() is None, self.log.read_text()
            if "The explorer is at" in self.log.read_text():
                return self
            time.sleep(0.2)
        raise AssertionError(f"no page after five minutes: {self.log.read_text()}")

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=120)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("app"))
    try:
        yield server.wait()
    finally:
        status = server.stop()
    assert status == 0
    assert server.outside.seen == []


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture(params=[(1280, 900)])
def page(request, server, browser):
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    hosts, complaints = set(), []
    page.on("request", lambda r: hosts.add(urlsplit(r.url).hostname))
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.goto(server.url)
    picture(page, "#sheet")
    picture(page, "#reconstructions")
    picture(page, "#film")
    picture(page, "#explored")
    yield page
    context.close()
    assert hosts - {None} == {HERE}  # None: pictures that are part of the page
    assert complaints == []


def picture(page, area, before=None):
    """The first picture of an area, once it is there and is not ``before``."""
    page.wait_for_function(
        "([area, before]) => { const i = document.querySelector(area + ' img');"
        " return i && i.complete && i.naturalWidth && i.src !== before; }",
        arg=[area, before],
    )
    return page.locator(f"{area} img").first.get_attribute("src")


def until(page, area, expected):
    """Wait for a certain picture."""
    page.wait_for_function(
        "([area, src]) => document.querySelector(area + ' img').src === src", arg=[area, expected]
    )


def open_tab(page, name):
    page.get_by_role("tab", name=name).click()
    page.locator(f"#tab-{name.lower()}").wait_for(state="visible")


def choose(page, dropdown, option):
    page.locator(f"#{dropdown} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def slide(page, slider, value):
    page.locator(f"#{slider} input[type=range]").fill(str(value))


def shoot(page, folder, name):
    folders = [folder, *map(Path, filter(None, [os.environ.get("GENREV_SCREENSHOTS")]))]
    for target in folders:
        target.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=target / f"{name}.png", full_page=True)


def png(*shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def upload(page, picker, name, content):
    file = {"name": name, "mimeType": "image/png", "buffer": content}
    page.locator(f"#tab-{picker} input[type=file]").first.set_input_files(file)


def note(page, picker, text):
    page.locator(f"#{picker}-note", has_text=text).wait_for()
    return page.locator(f"#{picker}-note p")


def test_samples_follow_seed_class_and_number(page, tmp_path):
    first = picture(page, "#sheet")
    shoot(page, tmp_path, "samples")
    seed = page.locator("#seed input")
    seed.fill("1")
    second = picture(page, "#sheet", first)
    seed.fill("0")
    until(page, "#sheet", first)
    page.locator("#new-seed").click()
    third = picture(page, "#sheet", first)
    assert third != second
    choose(page, "samples-label", "3")
    fourth = picture(page, "#sheet", third)
    page.locator("#sheet", has_text="of class 3").wait_for()
    slide(page, "count", 20)
    picture(page, "#sheet", fourth)
    page.locator("#sheet", has_text="20 samples").wait_for()


def test_every_picture_can_be_saved(page):
    for tab, count in zip(TABS, (1, 1, 3, 4), strict=True):
        open_tab(page, tab)
        buttons = page.locator(f"#tab-{tab.lower()} .save[data-name$='.png']")
        assert buttons.count() == count
        for i in range(count):
            with page.expect_download() as saved:
                buttons.nth(i).click()
            assert saved.value.suggested_filename.endswith(".png")
            with Image.open(saved.value.path()) as image:
                assert image.format == "PNG"
                assert min(image.size) >= 80


def test_a_latent_that_was_found_is_saved_copied_and_opened_again(page, tmp_path):
    open_tab(page, "Explore")
    start = picture(page, "#explored")
    slide(page, "slider-0", 2)
    found = picture(page, "#explored", start)
    with page.expect_download() as saved:
        page.locator("#explored .save[data-name$='.npz']").click()
    kept = tmp_path / "kept.npz"
    saved.value.save_as(kept)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#explored .save[data-copy]").click()
    assert "numpy.load('" in page.evaluate("navigator.clipboard.readText()")
    page.locator("#reset").click()
    until(page, "#explored", start)
    page.locator(
        "#latent-upload input[type=file], #tab-explore input[type=file]"
    ).last.set_input_files(kept)
    until(page, "#explored", found)
    page.locator("#explored", has_text="moved from kept.npz").wait_for()
    shoot(page, tmp_path, "latent")
    other = {"name": "other.npz", "mimeType": "application/zip", "buffer": b"no zip"}
    page.locator("#tab-explore input[type=file]").last.set_input_files(other)
    page.locator("#latent-note", has_text="other.npz holds no latent").wait_for()


def test_a_seed_below_zero_is_zero(page):
    first = picture(page, "#sheet")
    page.locator("#seed input").fill("5")
    other = picture(page, "#sheet", first)
    page.locator("#seed input").fill("-5")
    assert picture(page, "#sheet", other) == first


def test_the_image_follows_a_slider_while_it_is_dragged(page, tmp_path):
    open_tab(page, "Explore")
    start = picture(page, "#explored")
    box = page.locator("#slider-0 input[type=range]").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    seen = start
    for part in (0.6, 0.75, 0.9):
        page.mouse.move(box["x"] + box["width"] * part, middle)
        seen = picture(page, "#explored", seen)  # the button is still down
    page.mouse.up()
    slide(page, "slider-3", -2)
    picture(page, "#explored", seen)
    shoot(page, tmp_path, "explore")
    page.locator("#reset").click()
    until(page, "#explored", start)
    assert page.locator("#slider-0 input[type=range]").input_value() == "0"


def test_an_exploration_starts_anywhere(page, tmp_path):
    open_tab(page, "Explore")
    mean = picture(page, "#explored")
    assert page.locator("#explore-strip").is_hidden()
    choose(page, "explore-label", "4")
    four = picture(page, "#explored", mean)
    page.locator("#origin").get_by_text("Sample").click()
    sample = picture(page, "#explored", four)
    page.locator("#another").click()
    other = picture(page, "#explored", sample)
    page.locator("#origin").get_by_text("Image").click()
    image = picture(page, "#explored", other)
    page.locator("#explore-strip .thumb").nth(5).click()
    kept = picture(page, "#explored", image)
    page.locator("#rest").get_by_text("Drop").click()
    dropped = picture(page, "#explored", kept)
    upload(page, "explore", "mine.png", png(28, 28))
    note(page, "explore", "used as it is")
    picture(page, "#explored", dropped)
    shoot(page, tmp_path, "explore_image")


def test_reconstructions_of_examples_and_uploads(page, tmp_path):
    open_tab(page, "Reconstruct")
    first = picture(page, "#reconstructions")
    page.locator("#reconstruct-strip .thumb").nth(3).click()
    second = picture(page, "#reconstructions", first)
    thumbs = page.locator("#reconstruct-strip .thumb")
    before = thumbs.count()
    upload(page, "reconstruct", "wide.png", png(60, 90, 3))
    note(page, "reconstruct", "90x60 pixels: centre square cut out, resized to 28x28")
    picture(page, "#reconstructions", second)
    shoot(page, tmp_path, "reconstruct")
    assert thumbs.count() == before + 1
    errors = page.locator("#reconstructions small").all_inner_texts()
    restricted, full = (float(text.split()[-1]) for text in errors if text)
    assert full < 1e-4 < 0.01 < restricted  # noise is not what 16 dimensions know
    open_tab(page, "Interpolate")  # the image is there as well
    assert page.locator("#to-strip .thumb").count() == before + 1


def test_bad_uploads_get_a_sentence(page, server, tmp_path):
    open_tab(page, "Reconstruct")
    shown = picture(page, "#reconstructions")
    bad = {
        "text.png": (b"no image at all", "is not an image"),
        "huge.png": (png_header(10_000, 10_000), "more than 50 megapixels"),
        "cut.png": (png(28, 28)[:300], "is damaged"),
        "<b>x.png": (b"", "is not an image"),
    }
    for name, (content, sentence) in bad.items():
        upload(page, "reconstruct", name, content)
        text = note(page, "reconstruct", sentence)
        assert text.get_attribute("role") == "alert"
        assert text.locator("b").count() == 0
    shoot(page, tmp_path, "bad_upload")
    assert picture(page, "#reconstructions") == shown
    assert "Traceback" not in server.log.read_text()


def test_a_file_of_too_many_bytes_is_not_even_sent(page, tmp_path):
    long = tmp_path / "long.png"
    with long.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    open_tab(page, "Reconstruct")
    page.locator("#tab-reconstruct input[type=file]").set_input_files(long)
    assert note(page, "reconstruct", "more than 20 MB").get_attribute("role") == "alert"


def test_the_scrubber_walks_from_one_image_to_the_other(page, tmp_path):
    open_tab(page, "Interpolate")
    half = picture(page, "#between-picture")
    film = picture(page, "#film")
    slide(page, "scrubber", 0)
    start = picture(page, "#between-picture", half)
    slide(page, "scrubber", 1)
    end = picture(page, "#between-picture", start)
    slide(page, "scrubber", 0.3)
    part = picture(page, "#between-picture", end)
    page.locator("#space").get_by_text("Full").click()
    film = picture(page, "#film", film)
    picture(page, "#between-picture", part)
    slide(page, "scrubber", 1)
    until(page, "#between-picture", picture(page, "#to-picture"))  # nothing is lost
    page.locator("#to-strip .thumb").nth(7).click()
    picture(page, "#film", film)
    shoot(page, tmp_path, "interpolate")


def test_another_model_takes_over_every_tab(page, tmp_path):
    areas = ("#sheet", "#explored", "#reconstructions", "#film")
    before = [picture(page, area) for area in areas]
    assert page.locator("#samples-label").is_visible()
    choose(page, "model", "small")
    for area, src in zip(areas, before, strict=True):
        picture(page, area, src)
    page.locator("#samples-label").wait_for(state="hidden")
    open_tab(page, "Explore")
    assert page.locator("#tab-explore input[type=range]:visible").count() == 6
    shoot(page, tmp_path, "other_model")
    choose(page, "model", "mnist")
    until(page, "#sheet", before[0])


def test_a_model_without_a_rest_is_not_asked_about_it(page):
    open_tab(page, "Interpolate")
    assert page.locator("#space").is_visible()
    page.locator("#film", has_text="restricted latent space").wait_for()
    film = picture(page, "#film")
    choose(page, "model", "whole")
    film = picture(page, "#film", film)
    page.locator("#space").wait_for(state="hidden")
    assert "latent space" not in page.locator("#film").inner_text()
    slide(page, "scrubber", 1)
    until(page, "#between-picture", picture(page, "#to-picture"))
    choose(page, "model", "mnist")
    page.locator("#space").wait_for(state="visible")


def test_a_chosen_button_keeps_its_dot_under_the_mouse(page):
    open_tab(page, "Interpolate")
    button = page.locator("#space input").nth(1)
    button.click()
    page.locator("#scrubber input[type=range]").focus()
    shown = [button.evaluate("e => getComputedStyle(e).backgroundColor")]
    page.mouse.move(0, 0)
    shown.append(button.evaluate("e => getComputedStyle(e).backgroundColor"))
    assert shown[0] == shown[1] != "rgb(255, 255, 255)"


@pytest.mark.parametrize("page", [(390, 844)], indirect=True)
def test_nothing_is_wider_than_a_phone(page, tmp_path):
    for tab in TABS:
        open_tab(page, tab)
        shoot(page, tmp_path, f"phone_{tab.lower()}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    open_tab(page, "Explore")
    page.locator("#slider-7").scroll_into_view_if_needed()
    shoot(page, tmp_path, "phone_last_slider")
    assert page.locator("#explored img").bounding_box()["y"] >= 0  # still in sight


def test_paths_and_addresses_that_a_client_makes_up_are_refused(server):
    with urllib.request.urlopen(f"{server.url}/config") as answer:
        config = json.load(answer)
    uploads = [d for d in config["dependencies"] if any(t[1] == "upload" for t in d["targets"])]
    assert uploads
    for i, path in enumerate(("/etc/hostname", str(server.log), "http://example.com/a.png")):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = {
            "data": [file, "mnist", None, None],
            "fn_index": uploads[0]["id"],
            "session_hash": f"nobody{i}",
        }
        request = urllib.request.Request(
            f"{server.url}/gradio_api/queue/join",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).close()
        stream = f"{server.url}/gradio_api/queue/data?session_hash=nobody{i}"
        with urllib.request.urlopen(stream, timeout=120) as answer:
            for line in answer:
                if b"process_completed" in line:
                    break
        assert json.loads(line.removeprefix(b"data: "))["success"] is False
