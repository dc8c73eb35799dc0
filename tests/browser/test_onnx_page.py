"""docs/guide/deploy.md, "In the browser": its page, served by this machine, gives the student's logits in Chromium."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import read_back_here, small

import kdrecipes
from kdrecipes.components.datasets import digits
from kdrecipes.runs.export import export

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "deploy.md"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
ASKED = """async () => {
    const { logits } = await import("./classify.js");
    return Array.from(await logits(document.querySelector("input").files[0]));
}"""

pytestmark = pytest.mark.slow


class Quiet(http.server.SimpleHTTPRequestHandler):
    def guess_type(self, path: str) -> str:
        return "text/javascript" if path.endswith((".js", ".mjs")) else super().guess_type(path)

    def log_message(self, *of: object) -> None:
        pass


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run on real digits, its student as ONNX for floats and for bytes."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("run") / "run"
    kdrecipes.run(small(), folder)
    for pixels in ("uint8", "float32"):
        with read_back_here():
            export(folder, "onnx", options={"input": pixels})
        name = "kd-0" if pixels == "float32" else "kd-0-uint8"
        (folder.parent / pixels).mkdir()
        for ending in ("onnx", "json"):
            shutil.copy(folder / "export" / f"{name}.{ending}", folder.parent / pixels / f"kd-0.{ending}")
    return folder


@pytest.fixture(params=["float32", "uint8"])
def exported(request, run):
    """The folder with kd-0.onnx, which takes pixels of a type, and kd-0.json."""
    return run.parent / request.param


@pytest.fixture
def site(exported, npm_package, tmp_path):
    """The page's files in a folder, served; its address, the folder."""
    for name in RUNTIME:
        shutil.copy(npm_package("onnxruntime-web") / "dist" / name, tmp_path)
    for name in ("kd-0.onnx", "kd-0.json"):
        shutil.copy(exported / name, tmp_path)
    shown = re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert [name for name, _ in shown] == ["index.html", "classify.js"]
    for name, text in shown:
        (tmp_path / name).write_text(text, encoding="utf-8")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", tmp_path
    server.shutdown()
    thread.join()
    server.server_close()


def digit(i: int) -> Image.Image:
    return Image.fromarray(digits.COMPONENT.build(split="test")[i]["image"].squeeze())


def asked(page, file: Path) -> np.ndarray:
    """The page's logits of an image file; the page shows its likeliest class first."""
    page.locator("input:enabled").set_input_files(file)  # the page takes no photo before its network is there
    logits = np.array(page.evaluate(ASKED), np.float32)
    page.wait_for_function("document.querySelectorAll('li').length == 3")
    return logits


def of_student(site: Path, image: Image.Image, file: Path) -> np.ndarray:
    """What ONNX Runtime in Python says of the file, by the way of `kdrecipes predict`: log-probabilities."""
    image.save(file)
    return np.log(kdrecipes.load_student(site / "kd-0.onnx").predict(file)[0])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def test_the_page_gives_the_logits_of_onnx_runtime_in_python(site, opened):
    address, folder = site
    shown = opened(address)
    file = folder / "digit.png"
    for i in range(3):
        digit(i).convert("RGB").save(file)
        pixels = np.asarray(Image.open(file), np.uint8)[None]
        there = kdrecipes.load_student(folder / "kd-0.onnx").logits(pixels)[0]
        here = asked(shown.page, file)
        np.testing.assert_allclose(here, there, atol=1e-5)
        assert shown.page.locator("li").first.inner_text().startswith(f"{there.argmax()} ")
    assert not shown.errors and all(url.startswith(address) for url in shown.requests)


@pytest.mark.parametrize(("resize", "store_size"), [("squash", 8), ("crop", 20)])
def test_a_photo_of_another_size_is_resized_as_the_student_saw_images(resize, store_size, site, opened):
    address, folder = site
    facts = json.loads((folder / "kd-0.json").read_text())
    (folder / "kd-0.json").write_text(json.dumps({**facts, "resize": resize, "store_size": store_size}))
    page, numbers = opened(address).page, np.random.default_rng(0)
    for i in range(4):
        photo = digit(i).resize((640, 480)).convert("RGBA")
        photo.putalpha(Image.fromarray(numbers.choice([0, 255], (480, 640), p=[0.1, 0.9]).astype(np.uint8)))
        there = of_student(folder, photo, folder / "photo.png")
        here = log_softmax(asked(page, folder / "photo.png"))
        np.testing.assert_allclose(here, there, atol=1e-3)
