"""A chart in the page and as files."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from kdrecipes.report.drawing import INK, Chart, empty_figure, files_of, in_page, logarithmic


def chart(title: str = "Of $x$ <b>", roles: tuple[str, ...] = ("baseline", "kd")) -> Chart:
    def draw():
        figure, axes = empty_figure()
        for role in roles:
            axes.plot([0, 1], [0, len(role)], color=INK[role])
        return figure

    return Chart("sample", title, "note", "said", ["a"], [["1"]], roles, draw)


def test_in_the_page_a_chart_has_the_colours_of_the_page_and_ids_of_its_own():
    text = in_page(chart())
    assert 'aria-hidden="true"' in text and "xmlns" not in text and "#ffffff" not in text
    assert "rgb(var(--kd))" in text and not any(colour in text for colour in INK.values())
    assert all(found.startswith("sample-") for found in re.findall(r'\bid="([^"]*)', text))


def test_the_files_are_an_svg_with_real_colours_and_a_png_on_white():
    from PIL import Image

    files = files_of(chart())
    assert list(files) == ["sample.svg", "sample.png"]
    svg = files["sample.svg"].decode()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert INK["kd"] in svg and "var(" not in svg and "fill: #ffffff" in svg
    image = np.asarray(Image.open(io.BytesIO(files["sample.png"])).convert("RGB"))
    assert image[0, 0].tolist() == [255, 255, 255] and image.shape[1] == 920


def test_a_file_has_its_title_word_for_word_and_a_legend_of_several_networks():
    svg = files_of(chart())["sample.svg"].decode()
    assert "Of $x$ &lt;b&gt;" in svg and "student, distilled" in svg
    assert "student, distilled" not in files_of(chart(roles=("kd",)))["sample.svg"].decode()


@pytest.mark.parametrize("setting", [{}, {"svg.fonttype": "path", "axes.facecolor": "red", "savefig.dpi": 30}])
def test_the_same_chart_is_the_same_bytes_whatever_matplotlib_is_set_to(setting):
    import matplotlib

    first = files_of(chart())
    with matplotlib.rc_context(setting):
        assert files_of(chart()) == first


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.9, 90, ["1", "2", "5", "10", "20", "50"]),
        (0.03, 0.6, ["0.05", "0.1", "0.2", "0.5"]),
        (900, 3000, ["1,000", "2,000"]),
    ],
)
def test_a_logarithmic_axis_has_plain_numbers(low, high, shown):
    figure, axes = empty_figure()
    logarithmic(axes, low, high)
    figure.draw_without_rendering()
    assert [label.get_text() for label in axes.get_xticklabels()] == shown
