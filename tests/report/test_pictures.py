"""The images of the page: inside it, with what the networks said of them; harmless, the same again, checked."""

import base64
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_build import CLASSES, IMAGES, fill

from kdrecipes.errors import UsageError
from kdrecipes.report.build import rebuild_report
from kdrecipes.report.contact_sheets import sheet
from kdrecipes.report.disagreements import disagreements
from kdrecipes.report.facts import read_facts
from kdrecipes.report.galleries import png
from kdrecipes.report.pictures import read_pictures
from kdrecipes.report.predictions import called

SIZES = (8, 100)  # of the student and of a teacher
TITLES = {"mended": "Mended: distilled right", "broken": "Broken: distilled wrong", "other": "Other disagreements"}


def groups_of(run, keys):
    with np.load(run / "predictions.npz") as stored:
        named = {role: stored[key].argmax(1) for role, key in keys.items()}
        return disagreements(stored["labels"], named)


def paint(run, sizes=SIZES, keys=None, change=None):
    """Write what a run leaves of images: invented ones of the first of each group, and two of training."""
    keys = {"teacher": "of the teacher", "baseline": "baseline-0", "kd": "kd-0"} if keys is None else keys
    random = np.random.default_rng(1)
    arrays = {"networks": np.array([keys.get(role, "") for role in ("teacher", "baseline", "kd")])}
    for group, positions in groups_of(run, keys).items():
        shown = positions[:12]
        arrays |= {group: shown, f"{group}_images": random.integers(0, 256, (len(shown), 8, 8, 3), np.uint8)}
    for side in {min(size, 96) for size in sizes}:
        arrays[f"views_{side}"] = random.integers(0, 256, (3, side, side, 3), np.uint8)
    arrays |= {"view_sizes": np.array(sizes), "view_labels": np.array([[1, 0, 0], [0, 0.25, 0.75], [0, 0, 0]], float)}
    arrays |= change or {}
    np.savez(run / "facts/pictures.npz", **{key: array for key, array in arrays.items() if array is not None})
    return arrays


@pytest.fixture
def run(tmp_path):
    return fill(tmp_path / "run")


def page_of(run):
    rebuild_report(run)
    return (run / "report.html").read_text(encoding="utf-8")


def embedded(page):
    """The pictures inside a page, in their order: uint8 (side, side, 3)."""
    found = re.findall(r'<img[^>]* src="data:image/png;base64,([^"]+)"', page)
    return [np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found]


@pytest.mark.slow
def test_the_images_of_each_group_and_of_training_are_in_the_page_as_they_are_stored(run):
    arrays = paint(run)
    found = embedded(page_of(run))
    stored = [image for group in TITLES for image in arrays[f"{group}_images"]]
    stored += [image for pair in zip(arrays["views_8"], arrays["views_96"], strict=True) for image in pair]
    assert len(found) == len(stored)
    for one, other in zip(found, stored, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_group_says_how_many_of_how_many_it_shows(run):
    paint(run)
    page = page_of(run)
    groups = groups_of(run, {"teacher": "of the teacher", "baseline": "baseline-0", "kd": "kd-0"})
    for group, positions in groups.items():
        assert re.search(
            rf"<h3>{TITLES[group]}[^<]*</h3>\n<p class=\"note\">{min(12, len(positions))} of {len(positions)}<", page
        )
    total = sum(map(len, groups.values()))
    assert f"do not name the same class on {total} of {IMAGES} test images" in page
    assert "The recipe’s seed drew them; nobody picked." in page


@pytest.mark.slow
def test_a_test_image_has_its_name_its_label_and_what_each_network_said_in_sight_and_in_its_alternative_text(run):
    with np.load(run / "predictions.npz") as stored:
        arrays = dict(stored)
    logits = np.zeros((IMAGES, 3), np.float32)
    teacher, baseline, kd = logits.copy(), logits.copy(), logits.copy()
    teacher[0] = kd[0] = np.log([0.1, 0.1, 0.8])
    baseline[0] = [7, 0, 0]
    arrays |= {"labels": np.full(IMAGES, 2), "of the teacher": teacher, "baseline-0": baseline, "kd-0": kd}
    np.savez(run / "predictions.npz", **arrays)
    paint(run)
    page = page_of(run).replace("\u00a0", " ")
    said = "teacher: &lt;c&gt;, 80 %, right. labels only: ä, &gt;99 %, wrong. distilled: &lt;c&gt;, 80 %, right."
    assert f'alt="Test image 0.jpg, &lt;c&gt;. {said}"' in page
    figure = re.search(r"<figcaption>(.*?)</figcaption>\n</figure>", page[page.index("Mended") :], re.S)
    words = " ".join(re.sub("<[^>]*>", "", figure[1]).split())
    assert words == "&lt;c&gt; teacher: &lt;c&gt; 80 % ✓ labels only: ä &gt;99 % distilled: &lt;c&gt; 80 % ✓ 0.jpg"
    assert "There is none" not in page and page.count("No image.") == 2  # broken, and other


@pytest.mark.slow
def test_networks_that_agree_everywhere_give_a_sentence(run):
    with np.load(run / "predictions.npz") as stored:
        arrays = {key: stored["kd-0"] if stored[key].ndim == 2 else stored[key] for key in stored}
    np.savez(run / "predictions.npz", **arrays)
    paint(run)
    assert f"There is none: all name the same class on each of the {IMAGES} test images." in page_of(run)


@pytest.mark.slow
def test_training_images_say_who_saw_them_at_which_size_and_what_their_labels_are(run):
    paint(run)
    page = page_of(run).replace("\u00a0", " ")
    assert "Pixels per side: student 8, teacher 100; shown at 96 here." in page
    labels = ["ä", r"75 % &lt;c&gt;, 25 % b\xff", "no label"]  # the name of the second is no UTF-8
    for label in labels:
        assert f'alt="Training image, {label}, as seen by: student"' in page
        assert f'alt="Training image, {label}, as seen by: teacher"' in page


@pytest.mark.slow
def test_small_images_are_shown_pixel_for_pixel_and_large_ones_smoothly(run):
    paint(run)
    page = page_of(run)
    for tag in re.findall("<img[^>]*>", page):
        assert ('class="squares"' in tag) == ('width="8"' in tag)
    assert ".squares { image-rendering: pixelated; }" in page


@pytest.mark.slow
def test_names_with_html_stay_text_and_the_page_loads_no_image_from_elsewhere(run):
    with np.load(run / "predictions.npz") as stored:
        arrays = dict(stored)
    hostile = "a/'\"><img src=http://x.example/y.png onerror=alert(1)>"
    np.savez(run / "predictions.npz", **arrays | {"names": np.full(IMAGES, hostile)})
    paint(run)
    page = page_of(run)
    assert "<img src=http" not in page and "&lt;img src=http://x.example/y.png" in page
    assert all(src.startswith("data:image/png;base64,") for src in re.findall(r'<img[^>]* src="([^"]*)"', page))
    assert re.search(r"Content-Security-Policy\" content=\"default-src 'none';[^\"]* img-src data:;", page)


@pytest.mark.slow
def test_images_without_names_are_called_by_their_index(run):
    with np.load(run / "predictions.npz") as stored:
        arrays = {key: stored[key] for key in stored if key != "names"}
    np.savez(run / "predictions.npz", **arrays | {"index": np.arange(IMAGES) + 5000})
    arrays = paint(run)
    assert f'alt="Test image {5000 + arrays["other"][0]}, ' in page_of(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "keys", "sizes", "headings"),
    [
        ({"teacher": False, "kinds": ("baseline",)}, {"baseline": "baseline-0"}, (8,), []),
        (
            {"kinds": ("kd",)},
            {"teacher": "of the teacher", "kd": "kd-0"},
            (8, 8),
            ["Distilled student and teacher disagree"],
        ),
        (
            {"several": True},
            {"teacher": "ensemble", "baseline": "baseline-0", "kd": "kd-0"},
            (8, 8, 16),
            [*TITLES.values()],
        ),
    ],
    ids=["no teacher", "no baseline", "several teachers"],
)
def test_fewer_or_more_networks_give_the_groups_that_they_can(tmp_path, made, keys, sizes, headings):
    run = fill(tmp_path / "run", **made)
    paint(run, sizes, keys)
    page = page_of(run)
    found = re.findall("<h3>([^<]*)</h3>", page)
    assert len(found) == len(headings) and all(a.startswith(b) for a, b in zip(found, headings, strict=True))
    assert "Training images as the networks saw them" in page
    assert ("the first batch of the distilled student" in page) == ("kd" in keys)


@pytest.mark.slow
def test_the_page_is_the_same_again_byte_for_byte(run):
    paint(run)
    first = page_of(run)
    assert page_of(run) == first


@pytest.mark.slow
def test_a_run_without_the_file_has_a_page_without_images(run):
    page = page_of(run)
    assert (
        "<img" not in page and "on which the networks disagree" not in page and "as the networks saw them" not in page
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"networks": None}, "it lacks .*networks"),
        (
            {"networks": np.array(["of the teacher", "baseline-7", "kd-0"])},
            "it compares baseline-7, which predictions.npz does not hold",
        ),
        ({"networks": np.array(["kd-0"])}, "its networks are not the three keys"),
        ({"view_sizes": np.array([8])}, "its view_sizes are not one of the student and one of each teacher"),
        ({"view_sizes": np.array(["8", "100"])}, "its view_sizes are not one"),
        ({"mended": None}, "it lacks .*mended"),
        ({"other": np.array([IMAGES + 1])}, "its images other are not of this run"),
        ({"mended_images": np.zeros((0, 9, 9, 3), np.uint8)}, "mended_images are no images of 8 pixels per side"),
        ({"views_8": np.zeros((3, 8, 8, 3), np.float32)}, "views_8 are no images"),
        ({"views_8": np.zeros((13, 8, 8, 3), np.uint8)}, "views_8 are no images"),
        ({"view_labels": np.zeros((2, 3))}, "its view_labels are not those of its views"),
        ({"view_labels": np.zeros((3, 9))}, "its view_labels are not those of its views"),
        ({"networks": np.array([{}], object)}, "Object arrays cannot be loaded"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_images_that_no_run_left_are_refused(run, change, why):
    paint(run, change=change)
    with pytest.raises(UsageError, match=rf"pictures.npz can't be read \(.*{why}.*Delete it, and `kdrecipes report"):
        rebuild_report(run)


@pytest.mark.parametrize("content", [b"", b"{torn", b"PK\x03\x04 and no more"], ids=repr)
def test_a_damaged_file_is_one_message_that_names_it(run, content):
    (run / "facts/pictures.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"facts/pictures.npz can't be read .*Delete it, and `kdrecipes report"):
        rebuild_report(run)


def test_a_file_with_a_wrong_byte_anywhere_is_refused_or_gives_a_page(run):
    arrays = paint(run)
    np.savez_compressed(run / "facts/pictures.npz", **arrays)
    whole, facts = (run / "facts/pictures.npz").read_bytes(), read_facts(run)
    for place in range(0, len(whole), len(whole) // 150):
        (run / "facts/pictures.npz").write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_pictures(run, facts)
        except UsageError as error:
            assert "pictures.npz can't be read" in str(error)


def test_images_of_another_run_are_refused(run, tmp_path):
    other = fill(tmp_path / "other", same=())
    with np.load(other / "predictions.npz") as stored:
        arrays = dict(stored)
    np.savez(other / "predictions.npz", **arrays | {"kd-0": arrays["kd-0"][::-1]})
    paint(other)
    shutil.copy(other / "facts/pictures.npz", run / "facts/pictures.npz")
    with pytest.raises(UsageError, match="are not of this run"):
        read_pictures(run, read_facts(run))


@pytest.mark.slow
def test_figures_hold_each_group_side_by_side_and_lose_it_with_the_images(run):
    arrays = paint(run)
    rebuild_report(run)
    sheets = sorted(path.name for path in (run / "figures").glob("images_*"))
    assert sheets == [f"images_{name}.png" for name in ("broken", "mended", "other", "training")]
    page = np.array(Image.open(run / "figures/images_training.png").convert("RGB"))
    assert page.shape == (8 + 96 + 8, 8 + 3 * (96 + 8), 3)
    for place, image in enumerate(arrays["views_8"]):  # each pixel is a square of twelve
        left = 8 + place * (96 + 8)
        np.testing.assert_array_equal(page[8 : 8 + 96 : 12, left : left + 96 : 12], image)
        np.testing.assert_array_equal(page[8 + 11 : 8 + 96 : 12, left + 11 : left + 96 : 12], image)
    assert (page[:8] == 255).all() and (page[:, -8:] == 255).all()
    (run / "facts/pictures.npz").unlink()
    rebuild_report(run)
    assert not [*(run / "figures").glob("images_*")]
    assert "<img" not in (run / "report.html").read_text(encoding="utf-8")


@given(st.integers(1, 12), st.integers(1, 96))
def test_a_sheet_has_a_place_for_every_image(count, side):
    images = np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(side, 1).repeat(side, 2).repeat(3, 3)
    page = sheet(images)
    assert set(np.unique(page)) == {*range(count), 255}
    assert max(page.shape) < 4 * (96 + side + 8) + 16


@pytest.mark.parametrize("gray", [True, False])
def test_a_png_holds_the_very_pixels_and_gray_ones_take_one_channel(gray):
    image = np.random.default_rng(0).integers(0, 256, (5, 5, 1 if gray else 3), np.uint8)
    image = np.broadcast_to(image, (5, 5, 3))
    opened = Image.open(io.BytesIO(png(image)))
    assert opened.format == "PNG" and opened.mode == ("L" if gray else "RGB")
    np.testing.assert_array_equal(np.array(opened.convert("RGB")), image)


assert len(CLASSES) == 3  # `paint` writes labels of three


def test_an_image_is_called_by_its_place_in_the_data_and_never_by_where_the_data_lay(tmp_path):
    names = np.array(["cat/1.jpg", "/home/me/.cache/data/t10k-images.gz[7]", "test[3]"])
    np.savez(tmp_path / "predictions.npz", names=names)
    assert called(tmp_path / "predictions.npz", np.array([0, 1, 2])) == ["cat/1.jpg", "t10k-images.gz[7]", "test[3]"]


def test_no_shipped_page_names_a_folder_of_the_machine_that_made_it():
    for page in (Path(__file__).parents[2] / "docs" / "assets" / "reports").glob("*.html"):
        assert not re.search(r'"(/root|/home|/tmp)/', page.read_text(encoding="utf-8")), page.name
