"""Views: a pure function of (seed, epoch, example), and what they do to pixels, against naive references."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import views_of
from scipy import stats

from kdrecipes.data import views as view_functions
from kdrecipes.data.views import Parameters, apply, draw_mix, resize, to_device

BOX = {"scale": [0.2, 0.8], "ratio": [0.75, 4 / 3]}
ERASING = {"probability": 0.7, "scale": [0.1, 0.4], "ratio": [0.5, 2.0]}
BOXED = [
    {},
    {"flip": True},
    {"crop_padding": 2},
    {"flip": True, "crop_padding": 3},
    {"random_resized_crop": BOX},
    {"flip": True, "random_resized_crop": {"scale": [0.9, 1.0], "ratio": [0.9, 1.1]}},  # often the whole image
]
VIEWS = [*BOXED, {"rotation": 20.0, "flip": True}, {"random_erasing": ERASING, "crop_padding": 1}]
views = st.sampled_from(VIEWS)
indices = st.lists(st.integers(0, 2**40), min_size=1, max_size=12)
seeds = st.integers(0, 2**32 - 1)
epochs = st.integers(0, 1000)


def draw(written, *arguments) -> Parameters:
    return view_functions.draw(views_of(written), *arguments)


def pictures(count: int, side: int = 9) -> np.ndarray:
    return np.random.default_rng(side).integers(0, 256, (count, side, side, 3), np.uint8)


def part(parameters: Parameters, chosen) -> Parameters:
    return {key: values[chosen] for key, values in parameters.items()}


def equal(first: Parameters, second: Parameters) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


# --- one example's view does not depend on the others -----------------------------------------------------------------


@settings(deadline=None)
@given(views, seeds, epochs, indices, st.randoms())
def test_parameters_depend_on_seed_epoch_and_example_alone(views, seed, epoch, index, random):
    together = draw(views, seed, epoch, np.array(index), 9)
    chosen = random.choices(range(len(index)), k=random.randint(1, 20))  # another order, other company, repeats
    again = draw(views, seed, epoch, np.array(index)[chosen], 9)
    assert equal(again, part(together, chosen))


@settings(deadline=None, max_examples=60)
@given(views, seeds, epochs, indices, st.sampled_from([9, 6, 14]), st.sampled_from([1, 3000, 10**7]))
def test_pixels_are_bitwise_the_same_whatever_the_batch(views, seed, epoch, index, size, part_bytes):
    images = pictures(len(index))
    parameters = draw(views, seed, epoch, np.array(index), 9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(view_functions, "_PART_BYTES", part_bytes)  # one image after the other, a few, all at once
        together = apply(images, parameters, size)
    assert together.shape == (len(index), size, size, 3) and together.dtype == torch.float32
    for i in range(len(index)):
        assert torch.equal(apply(images[i : i + 1], part(parameters, [i]), size)[0], together[i])


CODE = """
import hashlib, numpy as np
from kdrecipes.data.views import apply, draw
from kdrecipes.recipe.make import views_table
images = np.random.default_rng(9).integers(0, 256, (40, 9, 9, 3), np.uint8)
for views in VIEWS:
    table = views_table({"flip": False, "crop_padding": 0, **views})
    parameters = draw(table, 5, 3, np.arange(100, 140), 9)
    print(hashlib.sha256(apply(images, parameters, 9).numpy().tobytes()).hexdigest(),
          hashlib.sha256(b"".join(parameters[key].tobytes() for key in sorted(parameters))).hexdigest())
"""


@pytest.mark.slow
def test_views_are_the_same_in_another_process(capsys):
    code = CODE.replace("VIEWS", repr(VIEWS))
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    exec(code, {})
    here = capsys.readouterr().out
    assert here == there and len(set(here.splitlines())) == len(VIEWS)


def test_views_are_the_same_for_ever():
    # cached teacher outputs belong to these views: a change here needs another key there
    parameters = draw({"flip": True, "random_resized_crop": BOX}, 5, 3, np.arange(100), 32)
    parameters |= {f"crop {key}": values for key, values in draw({"crop_padding": 4}, 5, 3, np.arange(100), 32).items()}
    content = b"".join(parameters[key].astype(np.int64).tobytes() for key in sorted(parameters))
    assert hashlib.sha256(content).hexdigest()[:16] == "5cf516f44cd04c0b"


@pytest.mark.parametrize("views", VIEWS[1:])
def test_views_differ_between_epochs_seeds_and_examples(views):
    index = np.arange(200)
    seen = [draw(views, *key, index, 9) for key in ((0, 0), (0, 1), (1, 0), (1, 1))]
    seen += [draw(views, 0, 0, index + 200, 9)]
    assert not any(equal(seen[i], seen[j]) for i in range(5) for j in range(i))


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_about_half_are_flipped_and_independently_of_the_crop():
    drawn = draw({"flip": True, "crop_padding": 1}, 0, 0, np.arange(20_000), 9)
    assert drawn["flip"].dtype == bool and abs(drawn["flip"].mean() - 0.5) < 0.02
    for key in ("top", "left"):
        assert abs(np.corrcoef(drawn["flip"], drawn[key])[0, 1]) < 0.03
    assert abs(np.corrcoef(drawn["top"], drawn["left"])[0, 1]) < 0.03


@pytest.mark.parametrize("padding", [1, 2, 7])
def test_crop_offsets_cover_the_padding_evenly(padding):
    drawn = draw({"crop_padding": padding}, 0, 0, np.arange(20_000), 9)
    for key in ("top", "left"):
        offsets, counts = np.unique(drawn[key], return_counts=True)
        assert offsets.tolist() == list(range(-padding, padding + 1))
        assert np.abs(counts / 20_000 * (2 * padding + 1) - 1).max() < 0.15
    assert not drawn["flip"].any() and (drawn["height"] == 9).all() and (drawn["width"] == 9).all()


def test_no_views_draw_whole_images():
    drawn = draw({"flip": False, "crop_padding": 0}, 3, 1, np.arange(50), 9)
    assert equal(drawn, draw({}, 0, 0, np.arange(50), 9))
    assert not drawn["flip"].any() and not drawn["top"].any() and not drawn["left"].any()


@settings(deadline=None)
@given(seeds, st.floats(0.05, 0.9), st.floats(0, 0.1), st.floats(0.3, 1), st.floats(1, 3), st.integers(4, 64))
def test_boxes_lie_inside_and_keep_area_and_ratio(seed, least, more, low, high, side):
    box = {"scale": [least, least + more], "ratio": [low, high]}
    drawn = draw({"random_resized_crop": box}, seed, 0, np.arange(30), side)
    top, left, h, w = (drawn[key] for key in ("top", "left", "height", "width"))
    assert (top >= 0).all() and (left >= 0).all() and (top + h <= side).all() and (left + w <= side).all()
    assert (h >= 1).all() and (w >= 1).all()
    # sides are rounded to whole pixels: half a pixel either way
    area = (w - 0.5) * (h - 0.5) <= (least + more) * side**2 + 1e-6
    area &= (w + 0.5) * (h + 0.5) >= least * side**2 - 1e-6
    ratio = ((w - 0.5) / (h + 0.5) <= high + 1e-6) & ((w + 0.5) / (h - 0.5) >= low - 1e-6)
    nothing_fits = (h == side) & (w == side)
    assert (area & ratio | nothing_fits).all()


def test_boxes_use_the_whole_range():
    drawn = draw({"random_resized_crop": BOX}, 0, 0, np.arange(5000), 64)
    area, ratio = drawn["height"] * drawn["width"] / 64**2, drawn["width"] / drawn["height"]
    assert area.min() < 0.22 and area.max() > 0.78 and abs(area.mean() - 0.5) < 0.02
    assert ratio.min() < 0.78 and ratio.max() > 1.29 and abs(np.log(ratio).mean()) < 0.02
    for place, length in (("top", "height"), ("left", "width")):
        roomy = drawn[length] < 54
        room, start = 64 - drawn[length][roomy], drawn[place][roomy]
        assert (start == 0).any() and (start == room).any() and abs((start / room).mean() - 0.5) < 0.02


def test_where_no_box_fits_the_whole_image_is_shown():
    drawn = draw({"random_resized_crop": {"scale": [1.0, 1.0], "ratio": [2.0, 3.0]}}, 0, 0, np.arange(20), 16)
    assert equal(drawn, draw({}, 0, 0, np.arange(20), 16))


# --- what they do to pixels -------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.booleans(), st.integers(1, 12), seeds)
def test_padded_crop_and_flip_are_pad_then_slice_then_mirror(flip, padding, seed):
    images = pictures(6)
    parameters = draw({"flip": flip, "crop_padding": padding}, seed, 0, np.arange(6), 9)
    shown = apply(images, parameters, 9)
    for i, image in enumerate(images):
        padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        top, left = parameters["top"][i] + padding, parameters["left"][i] + padding
        expected = padded[top : top + 9, left : left + 9]
        expected = np.fliplr(expected) if parameters["flip"][i] else expected
        assert np.array_equal(shown[i].numpy(), expected.astype(np.float32))


def reference(image: np.ndarray, top: int, left: int, height: int, width: int, flip: bool, size: int) -> np.ndarray:
    """What is shown of one image, in float64: pad with black, cut, mirror, resize once as torch does."""
    side = len(image)
    padded = np.pad(image, ((side, side), (side, side), (0, 0)))
    box = padded[side + top : side + top + height, side + left : side + left + width]
    box = np.fliplr(box) if flip else box
    channels_first = torch.from_numpy(box.astype(np.float64)).permute(2, 0, 1)[None]
    shown = F.interpolate(channels_first, (size, size), mode="bilinear", antialias=True)
    return shown[0].permute(1, 2, 0).numpy()


def compare(images: np.ndarray, parameters: Parameters, size: int) -> None:
    shown = apply(images, parameters, size)
    for i, image in enumerate(images):
        box = [int(parameters[key][i]) for key in ("top", "left", "height", "width")]
        expected = reference(image, *box, bool(parameters["flip"][i]), size)
        np.testing.assert_allclose(shown[i].numpy(), expected, rtol=0, atol=1e-3)


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(BOXED), seeds, st.sampled_from([(9, 9), (9, 5), (9, 16), (9, 31), (28, 12), (28, 64)]))
def test_views_are_cut_then_mirrored_then_resized_once(views, seed, sizes):
    side, size = sizes
    compare(pictures(5, side), draw(views, seed, 0, np.arange(5), side), size)


@settings(deadline=None, max_examples=50)
@given(seeds, st.integers(2, 40), st.integers(1, 40))
def test_any_box_is_shown_as_torch_would(seed, side, size):
    """Also boxes that no view draws: of one pixel, or beside the image."""
    random = np.random.default_rng(seed)
    parameters = {key: random.integers(-side, side + 1, 4) for key in ("top", "left")}
    parameters |= {key: random.integers(1, side + 1, 4) for key in ("height", "width")}
    for start, length in (("top", "height"), ("left", "width")):
        parameters[start] = np.minimum(parameters[start], 2 * side - parameters[length])
    compare(pictures(4, side), parameters | {"flip": random.random(4) < 0.5}, size)


# --- rotation and erasing ---------------------------------------------------------------------------------------------


def turned(images, degrees):
    parameters = draw({}, 0, 0, np.arange(len(images)), images.shape[1])
    return apply(images, parameters | {"angle": np.array(degrees, np.float64)}, images.shape[1]).numpy()


def test_quarter_turns_are_exact_and_to_the_left():
    images = pictures(4)
    expected = np.stack([np.rot90(image, turns) for image, turns in zip(images, (0, 1, -1, 2), strict=True)])
    np.testing.assert_allclose(turned(images, [0, 90, -90, 180]), expected, atol=1e-3)


def test_a_turn_is_scipys_bilinear_one():
    from scipy.ndimage import affine_transform

    image, degrees, middle = pictures(1, 12)[0].astype(np.float64), 17.0, 5.5
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    back = np.array([[cos, sin], [-sin, cos]])  # rows, columns
    offset = middle - back @ [middle, middle]
    expected = np.stack([affine_transform(image[..., c], back, offset, order=1) for c in range(3)], -1)
    inside = (slice(3, 9), slice(3, 9))  # scipy's edge is another
    np.testing.assert_allclose(turned(image[None].astype(np.uint8), [degrees])[0][inside], expected[inside], atol=1e-2)


def test_angles_are_drawn_evenly_to_both_sides():
    angle = draw({"rotation": 10.0}, 0, 0, np.arange(20_000), 9)["angle"]
    assert stats.kstest(angle, stats.uniform(-10, 20).cdf).pvalue > 1e-3


def test_an_erased_box_is_black_and_all_else_stays():
    images = np.full((1, 10, 10, 3), 200, np.uint8)
    parameters = draw({}, 0, 0, np.arange(1), 10)
    parameters |= {
        f"erase_{k}": np.array([v]) for k, v in {"top": 0.2, "left": 0.5, "height": 0.3, "width": 0.4}.items()
    }
    for size in (10, 20):  # the same part whatever the size
        shown = apply(images, parameters, size).numpy()[0, ..., 0]
        expected = np.full((size, size), 200.0)
        expected[size // 5 : size // 2, size // 2 : size * 9 // 10] = 0
        np.testing.assert_allclose(shown, expected)


def test_erased_boxes_keep_probability_area_and_ratio_and_lie_inside():
    found = draw({"random_erasing": ERASING}, 0, 0, np.arange(20_000), 9)
    erased = found["erase_height"] > 0
    assert abs(erased.mean() - 0.7) < 0.02
    area, ratio = (
        found["erase_height"] * found["erase_width"],
        found["erase_width"] / np.where(erased, found["erase_height"], 1),
    )
    assert 0.1 <= area[erased].min() < 0.11 and 0.39 < area[erased].max() <= 0.4
    assert 0.5 <= ratio[erased].min() < 0.51 and 1.9 < ratio[erased].max() <= 2.0 + 1e-9
    for start, length in (("top", "height"), ("left", "width")):
        assert (found[f"erase_{start}"] >= 0).all() and (found[f"erase_{start}"] + found[f"erase_{length}"] <= 1).all()


def test_without_parameters_pixels_are_unchanged():
    images = pictures(5)
    shown = apply(images, None, 9)
    assert shown.dtype == torch.float32 and np.array_equal(shown.numpy(), images)


@pytest.mark.parametrize("views", VIEWS)
def test_stored_images_are_never_written_to(views):
    images = pictures(8)
    before = images.copy()
    apply(images, draw(views, 0, 0, np.arange(8), 9), 9).zero_()
    apply(images, None, 9).zero_()
    assert np.array_equal(images, before)


@pytest.mark.parametrize("shape, size", [((9, 9), 20), ((28, 28), 64), ((64, 64), 28), ((30, 30), 7), ((12, 31), 16)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_resize_is_torchs_antialiased_bilinear(shape, size, dtype):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (7, *shape, 3), np.uint8)).to(dtype)
    shown = resize(images, size)
    expected = F.interpolate(images.double().permute(0, 3, 1, 2), (size, size), mode="bilinear", antialias=True)
    assert shown.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(shown.double(), expected.permute(0, 2, 3, 1), rtol=0, atol=1e-3)
    # on the CPU an image resized alone and in a batch is the same to the last bit
    assert all(torch.equal(resize(images[i : i + 1], size)[0], shown[i]) for i in range(7))
    assert shown.min() >= 0 and shown.max() <= 255 + 1e-4


# --- mixing -----------------------------------------------------------------------------------------------------------

alphas = st.floats(0.01, 20)


@settings(deadline=None)
@given(alphas, seeds, epochs, indices, st.integers(1, 10**6), st.randoms())
def test_a_mix_depends_on_seed_epoch_and_example_alone(alpha, seed, epoch, index, examples, random):
    partners, shares = draw_mix(alpha, seed, epoch, np.array(index), examples)
    assert ((partners >= 0) & (partners < examples)).all() and ((shares >= 0.5) & (shares <= 1)).all()
    chosen = random.choices(range(len(index)), k=random.randint(1, 20))
    again = draw_mix(alpha, seed, epoch, np.array(index)[chosen], examples)
    assert np.array_equal(again[0], partners[chosen]) and np.array_equal(again[1], shares[chosen])


def test_mixes_are_the_same_for_ever():
    partners, shares = draw_mix(0.4, 5, 3, np.arange(100), 1000)
    assert partners[:8].tolist() == [555, 160, 590, 620, 730, 506, 577, 576]
    np.testing.assert_allclose(shares[:4], [0.932085220549, 0.85119664552, 0.668530801711, 0.999952018645], rtol=1e-9)


def test_mixes_differ_between_epochs_seeds_and_examples():
    index = np.arange(200)
    seen = [draw_mix(1.0, *key, index, 1000) for key in ((0, 0), (0, 1), (1, 0), (1, 1))]
    seen += [draw_mix(1.0, 0, 0, index + 200, 1000)]
    for part in (0, 1):
        assert not any(np.mean(seen[i][part] == seen[j][part]) > 0.05 for i in range(5) for j in range(i))


def test_partners_are_drawn_evenly_and_independently_of_everything_else():
    partners, shares = draw_mix(0.7, 0, 0, np.arange(40_000), 50)
    counts = np.bincount(partners, minlength=50)
    assert len(counts) == 50 and stats.chisquare(counts).pvalue > 1e-3
    drawn = draw({"flip": True, "crop_padding": 3}, 0, 0, np.arange(40_000), 9)
    pairs = [(partners, np.arange(40_000)), (partners, shares)]
    pairs += [(mine, drawn[key]) for mine in (partners, shares) for key in ("flip", "top", "left")]
    assert all(abs(np.corrcoef(a, b)[0, 1]) < 0.02 for a, b in pairs)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 6.0])
def test_shares_have_the_quantiles_of_the_larger_part_of_a_beta_draw(alpha):
    shares = np.sort(draw_mix(alpha, 0, 0, np.arange(40_000), 7)[1])
    for quantile in (0.05, 0.25, 0.5, 0.75, 0.95):
        # P(max(λ, 1 − λ) ≤ x) = 2 F(x) − 1 for a symmetric F
        reached = 2 * stats.beta(alpha, alpha).cdf(shares[int(quantile * 40_000)]) - 1
        assert abs(reached - quantile) < 0.01


# --- on a GPU ---------------------------------------------------------------------------------------------------------


def test_a_gpu_is_sent_pinned_tensors_without_waiting(monkeypatch):
    sent = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: sent.append("pinned") or tensor)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *args, **options: sent.append((args, options)) or tensor)
    tensor = torch.arange(3)
    assert to_device(tensor, "cpu") is tensor and to_device(tensor, "mps") is tensor and not sent
    to_device(tensor, "cuda:1")
    assert sent == ["pinned", (("cuda:1",), {"non_blocking": True})]


@pytest.mark.parametrize("views", [None, *VIEWS])
def test_a_gpu_is_sent_bytes_and_does_the_rest(monkeypatch, views):
    """With torch's device without memory in its place: what stayed behind on the CPU would not go with it."""
    sent = []

    def recording(tensor: torch.Tensor, device: str) -> torch.Tensor:
        if tensor.device.type == "cpu" and device == "meta":
            sent.append(tensor.nbytes)
            return tensor.to(device)
        return tensor

    monkeypatch.setattr(view_functions, "to_device", recording)
    images = pictures(6)
    parameters = None if views is None else draw(views, 0, 0, np.arange(6), 9)
    shown = apply(images, parameters, 14, "meta")
    assert shown.device.type == "meta" and shown.shape == (6, 14, 14, 3) and shown.dtype == torch.float32
    assert max(sent) == images.nbytes and sum(sent) < images.nbytes + 500
