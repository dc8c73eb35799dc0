"""BiT: the published network, at even and odd sizes and from every published layout of its weights."""

import numpy as np
import pytest
import torch

from kdrecipes.backend import seed_everything
from kdrecipes.components.models import bit, bit_weights
from kdrecipes.components.models.bit_sizes import SIZES, Size
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.fast import accelerate, frozen

R50 = SIZES["bit_m_r50x1"]
SMALL = Size((2, 1, 1, 1), 1)


@pytest.fixture(scope="module")
def reference():
    """An independent implementation in torch, with random weights and a head of 7 classes."""
    import transformers  # seconds

    torch.manual_seed(0)
    config = transformers.BitConfig(depths=list(SMALL.units), num_labels=7, layer_type="preactivation")
    model = transformers.BitForImageClassification(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + (parameter.ndim == 1))
    return model


def pixels(size):
    return torch.randint(0, 256, (2, size, size, 3), generator=torch.Generator().manual_seed(size)).float()


@pytest.mark.slow
def test_it_has_the_published_number_of_parameters():
    assert bit.bit(101, 64, R50).count_params() == 23_707_301


def test_a_new_head_is_zero():
    assert not bit.bit(5, 32, SMALL)(pixels(32)).any()


def layouts(reference):
    """The reference's weights under every published naming: {"hf", "timm": .safetensors, "npz", "numbered npz"}."""
    hf = {name: tensor.numpy() for name, tensor in reference.state_dict().items()}
    timm, npz = {}, {}
    for name, array in hf.items():
        plain = name.removeprefix("bit.").removeprefix("encoder.")
        if plain.startswith("classifier"):
            timm[f"head.fc.{plain.rpartition('.')[2]}"] = array[..., None, None] if array.ndim == 2 else array
            last = {"weight": "kernel", "bias": "bias"}[plain.rpartition(".")[2]]
            npz[f"resnet/head/conv2d/{last}"] = array.T[None, None] if array.ndim == 2 else array
            continue
        timm[plain.replace("embedder.convolution", "stem.conv").replace("layers.", "blocks.")] = array
        last = plain.rpartition(".")[2]
        if array.ndim == 4:
            array, end = array.transpose(2, 3, 1, 0), "standardized_conv2d/kernel"
        else:
            end = "group_norm/" + {"weight": "gamma", "bias": "beta"}[last]
        parts = plain.split(".")
        if parts[0] == "embedder":
            npz[f"resnet/root_block/{end}"] = array
        elif parts[0] == "norm":
            npz[f"resnet/{end}"] = array
        else:
            place = {"conv1": "a", "conv2": "b", "conv3": "c", "norm1": "a", "norm2": "b", "norm3": "c"}
            part = place.get(parts[4], "a/proj")
            npz[f"resnet/block{int(parts[1]) + 1}/unit{int(parts[3]) + 1:02}/{part}/{end}"] = array
    numbered = {
        k.replace("standardized_conv2d/", f"standardized_conv2d_{i}/"): v for i, (k, v) in enumerate(npz.items())
    }
    return {"hf": hf, "timm": timm, "npz": npz, "numbered npz": numbered}


def save(arrays, folder, layout):
    from safetensors.numpy import save_file

    if "npz" in layout:
        path = folder / "bit.npz"
        np.savez(path, **arrays)
    else:
        path = folder / "model.safetensors"
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["hf", "timm", "npz", "numbered npz"])
def test_every_layout_of_the_weights_is_loaded(reference, tmp_path, layout):
    """The logits are the independent implementation's."""
    model = bit.bit(7, 64, SMALL)
    bit_weights.load_weights(model, SMALL, save(layouts(reference)[layout], tmp_path, layout))
    assert_same_logits(model, reference, 64)


@pytest.mark.slow
@pytest.mark.parametrize("size", [33, 64, 65, 97])
def test_logits_are_those_of_an_independent_implementation(reference, tmp_path, size):
    model = bit.bit(7, size, SMALL)
    bit_weights.load_weights(model, SMALL, save(layouts(reference)["hf"], tmp_path, "hf"))
    assert_same_logits(model, reference, size)


def assert_same_logits(model, reference, size):
    """Both implementations, ours as Keras computes it, accelerated and frozen; theirs has 1e-8 in place of 1e-10."""
    images = pixels(size)
    with torch.no_grad():
        expected = reference((images / 127.5 - 1).permute(0, 3, 1, 2)).logits
        scale = expected.abs().max()
        assert scale > 0.1
        for call in (model, accelerate(model), frozen(model)):
            assert (call(images) - expected).abs().max() <= 1e-4 * max(1.0, float(scale))


# --- files that do not fit -------------------------------------------------------------------------------------------


def refused(model, path, sha256=None):
    before = [w.numpy().copy() for w in model.weights[:3]]
    with pytest.raises(EnvironmentProblem) as caught:
        bit_weights.load_weights(model, SMALL, path, sha256)
    assert all((w.numpy() == b).all() for w, b in zip(model.weights[:3], before, strict=True))
    return str(caught.value)


def test_a_head_of_another_width_is_left_out(reference, tmp_path):
    model = bit.bit(5, 64, SMALL)
    bit_weights.load_weights(model, SMALL, save(layouts(reference)["npz"], tmp_path, "npz"))
    assert not model.get_layer("logits").kernel.numpy().any()
    assert model.get_layer("head_norm").gamma.numpy().std() > 0


def test_missing_misshapen_and_left_over_arrays_are_named(reference, tmp_path):
    arrays = layouts(reference)["npz"]
    del arrays["resnet/block2/unit01/b/group_norm/beta"]
    arrays["resnet/root_block/standardized_conv2d/kernel"] = np.zeros((5, 5, 3, 64), np.float32)
    arrays["resnet/block9/unit01/a/group_norm/gamma"] = np.zeros(3, np.float32)
    message = refused(bit.bit(7, 64, SMALL), save(arrays, tmp_path, "npz"))
    assert "resnet/block2/unit01/b/group_norm/beta is missing" in message
    assert "resnet/root_block/standardized_conv2d/kernel has shape (5, 5, 3, 64)" in message
    assert "no layer takes resnet/block9/unit01/a/group_norm/gamma" in message


def test_a_file_without_its_first_array_is_still_known(reference, tmp_path):
    arrays = layouts(reference)["hf"]
    del arrays["bit.embedder.convolution.weight"]
    message = refused(bit.bit(7, 64, SMALL), save(arrays, tmp_path, "hf"))
    assert "read as Hugging Face's layout" in message and "bit.embedder.convolution.weight is missing" in message


def test_a_head_without_its_bias_is_named(reference, tmp_path):
    arrays = layouts(reference)["timm"]
    del arrays["head.fc.bias"]
    assert "head.fc.bias is missing" in refused(bit.bit(7, 64, SMALL), save(arrays, tmp_path, "timm"))


@pytest.mark.parametrize("layout", ["npz", "timm"])
def test_a_file_that_is_cut_off_is_said(reference, tmp_path, layout):
    path = save(layouts(reference)[layout], tmp_path, layout)
    path.write_bytes(path.read_bytes()[:-5000])
    message = refused(bit.bit(7, 64, SMALL), path)
    assert str(path) in message and "cut off or damaged" in message


def test_another_network_is_said(tmp_path):
    message = refused(bit.bit(7, 64, SMALL), save({"conv1.weight": np.zeros(3, np.float32)}, tmp_path, "timm"))
    assert "holds no BiT network" in message and "conv1.weight" in message


def test_a_missing_file_another_kind_and_another_checksum_are_said(tmp_path):
    model = bit.bit(7, 64, SMALL)
    assert "no such file" in refused(model, tmp_path / "bit.npz")
    assert "must be Google's .npz" in refused(model, tmp_path / "bit.pth")
    (tmp_path / "bit.npz").write_bytes(b"")
    assert f"expected {'0' * 64}" in refused(model, tmp_path / "bit.npz", "0" * 64)


@pytest.mark.slow
def test_our_own_weights_file_is_loaded(tmp_path):
    seed_everything(1)
    one, other = bit.bit(7, 32, SMALL), bit.bit(7, 32, SMALL)
    one.get_layer("logits").kernel.assign(np.ones((2048, 7)))
    one.save_weights(tmp_path / "bit.weights.h5")
    bit_weights.load_weights(other, SMALL, tmp_path / "bit.weights.h5")
    torch.testing.assert_close(other(pixels(32)), one(pixels(32)))
