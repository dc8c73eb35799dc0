"""The plugin kdrecipes-timm with timm itself: `make test-timm`; `make test` skips this file with a notice.

Every network here has random weights and comes from no network; `test_…` are the tiny ones that timm has for tests.
"""

from __future__ import annotations

import json

import pytest
import torch

import kdrecipes
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.testing import check_model
from kdrecipes.torch_modules import as_keras

timm = pytest.importorskip("timm", reason="timm is not installed here: make test-timm")
pytest.importorskip("kdrecipes_timm")

from kdrecipes_timm import build  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402


def built(model="test_resnet", classes=10, image_size=32, **options):
    torch.manual_seed(0)
    return build(classes, image_size, model, **{"pretrained": False, **options}).eval()


def pixels(size=32):
    return torch.randint(0, 256, (3, size, size, 3), generator=torch.Generator().manual_seed(0)).float()


def saved(folder, model="test_resnet", name="model.safetensors", **options):
    network = built(model, **options)
    save_file(network.state_dict(), folder / name)
    return network, str(folder / name)


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ("resnet26d", [32, 48]),
        ("mobilenetv3_small_100", [32, 48]),
        ("efficientnet_b0", [32, 48]),
        ("vit_tiny_patch16_224", [32, 48]),
        ("resnetv2_50x1_bit", [32, 48]),
    ],
)
def test_it_keeps_the_contract(model, sizes):
    check_model(kdrecipes.component("model", "timm"), model=model, pretrained=False, image_size=sizes)


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "test_vit"])
def test_logits_are_timms_on_pixels_prepared_by_its_own_configuration(model):
    """Mean and deviation of these differ: 0.5 of a ViT, ImageNet's of an EfficientNet."""
    network = built(model)
    same = timm.create_model(model, num_classes=10, **({"img_size": 32} if "vit" in model else {})).eval()
    same.load_state_dict(network.state_dict())
    config = timm.get_pretrained_cfg(model)
    prepared = ((pixels() / 255 - torch.tensor(config.mean)) / torch.tensor(config.std)).permute(0, 3, 1, 2)
    with torch.no_grad():
        torch.testing.assert_close(network(pixels()), same(prepared), rtol=1e-4, atol=1e-4)


def test_a_tag_says_which_preprocessing():
    plain, other = built("vit_tiny_patch16_224"), built("vit_tiny_patch16_224.augreg_in21k")
    assert plain.pretrained_cfg["tag"] != other.pretrained_cfg["tag"] == "augreg_in21k"


def test_arrays_and_layers_have_timms_names():
    network, plain = built("test_vit"), timm.create_model("test_vit", num_classes=10, img_size=32)
    assert list(network.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in network.named_modules()] == [name for name, _ in plain.named_modules()]


def test_stochastic_depth_and_dropout_are_set():
    network = built("test_vit", drop_path=0.3, drop_rate=0.2)
    assert network.blocks[-1].drop_path1.drop_prob == pytest.approx(0.3) and network.head_drop.p == 0.2


def test_accelerate_leaves_it_as_it_is():
    model = as_keras(built(), 10, 32)
    before = model(pixels())
    torch.testing.assert_close(kdrecipes.accelerate(model)(pixels()), before, rtol=0, atol=0)


# --- weights from a file ---------------------------------------------------------------------------------------------


def test_a_file_gives_all_arrays(tmp_path):
    network, file = saved(tmp_path)
    torch.manual_seed(1)
    torch.testing.assert_close(build(10, 32, "test_resnet", file).eval()(pixels()), network(pixels()))


def test_a_head_of_another_width_is_new_and_all_else_is_kept(tmp_path):
    network, file = saved(tmp_path)
    other = build(4, 32, "test_resnet", file).eval()
    assert other(pixels()).shape == (3, 4)
    torch.testing.assert_close(other.conv1[0].weight, network.conv1[0].weight)


def test_positions_are_interpolated_for_another_image_size(tmp_path):
    network, file = saved(tmp_path, "test_vit")
    other = build(10, 64, "test_vit", file).eval()
    assert other(pixels(64)).shape == (3, 10)
    torch.testing.assert_close(other.blocks[0].attn.qkv.weight, network.blocks[0].attn.qkv.weight)


def test_the_configuration_beside_a_file_says_the_preprocessing(tmp_path):
    _, file = saved(tmp_path)
    config = {"mean": [0.1, 0.2, 0.3], "std": [0.2, 0.2, 0.2]}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": config}))
    torch.testing.assert_close(build(10, 32, "test_resnet", file).pixel_offset, torch.tensor([-0.5, -1.0, -1.5]))


# --- what can't be ---------------------------------------------------------------------------------------------------


def message(model, **options):
    with pytest.raises(EnvironmentProblem) as caught:
        build(10, 32, model, **options)
    return str(caught.value)


def test_a_name_that_timm_does_not_have_is_told_with_the_nearest():
    text = message("resnet26dd")
    assert text.startswith(f"model = 'resnet26dd': timm {timm.__version__} has no network of this name. Did you mean")
    assert text.partition("Did you mean ")[2].startswith("'resnet26d', ")


def test_a_tag_that_timm_does_not_have_is_told_with_those_there_are():
    assert message("vit_tiny_patch16_224.mine") == (
        f"model = 'vit_tiny_patch16_224.mine': timm {timm.__version__} has no network of this name. There are "
        "vit_tiny_patch16_224.augreg_in21k, vit_tiny_patch16_224.augreg_in21k_ft_in1k."
    )


def test_an_earlier_name_is_told_with_the_present_one():
    """The notebooks' own."""
    assert message("resnetv2_50x1_bitm").endswith("It is called 'resnetv2_50x1_bit.goog_in21k_ft_in1k' now.")


def test_a_checkpoint_of_another_network_is_told_with_the_first_array(tmp_path):
    _, file = saved(tmp_path, "test_efficientnet", "mine.safetensors")
    wanted = built().state_dict()
    missing = [name for name in wanted if name not in load_file(file)]
    text = message("test_resnet", pretrained=file)
    assert text.startswith(
        f"pretrained = {file!r} holds weights of another network than 'test_resnet': the file has no array "
        f"{missing[0]!r}. "
    )
    assert text.endswith(" more do not fit.")


def test_an_array_of_another_shape_is_told_with_both(tmp_path):
    network, file = saved(tmp_path)
    arrays = load_file(file)
    save_file(arrays | {"conv1.0.weight": torch.zeros(1, 2)}, file)
    assert message("test_resnet", pretrained=file) == (
        f"pretrained = {file!r} holds weights of another network than 'test_resnet': the array 'conv1.0.weight' is "
        f"(1, 2) in the file and {tuple(network.conv1[0].weight.shape)} in the network."
    )


def test_a_file_that_can_not_be_read_is_told(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    (tmp_path / "a.pth").write_bytes(b"nothing")
    assert "can't be read (SafetensorError" in message("test_resnet", pretrained=str(tmp_path / "a.safetensors"))
    assert message("test_resnet", pretrained=str(tmp_path / "a.pth")).endswith(
        "weights are read from .safetensors alone."
    )
    assert message("test_resnet", pretrained="none.safetensors") == (
        "pretrained = 'none.safetensors': there is no such file."
    )


def test_a_setting_that_the_network_lacks_is_told():
    assert message("vgg11", pretrained=False, drop_path=0.1) == "drop_path: 'vgg11' has no such setting. Leave it out."


def test_no_network_names_the_address(monkeypatch):
    def offline(*args, **options):
        raise OSError("no route")

    monkeypatch.setattr(timm, "create_model", offline)
    text = message("resnet26d.bt_in1k")
    assert "could not be fetched from https://huggingface.co/timm/resnet26d.bt_in1k (OSError: no route)" in text


# --- in a run --------------------------------------------------------------------------------------------------------


def recipe(folder, *more):
    text = """
        schema_version = 1
        name = "timm"
        requires = ["kdrecipes-timm"]
        [dataset]
        name = "digits"
        image_size = 32
        train = "train[:64]"
        validation = "train[160:200]"
        test = "test[:40]"
        [teacher]
        name = "timm"
        model = "test_vit"
        pretrained = false
        preflight = "warn"
        [teacher.train]
        epochs = 1
        [student]
        name = "timm"
        model = "test_resnet"
        pretrained = false
        [loss]
        name = "kd"
        [report]
        measure = false
        [train]
        epochs = 1
        batch_size = 32
    """
    (folder / "timm.toml").write_text(text)
    return kdrecipes.load_recipe(folder / "timm.toml", more)


def test_a_student_is_a_checkpoint_that_timm_loads_back(tmp_path, home):
    kdrecipes.run(recipe(tmp_path), tmp_path / "run")
    file = tmp_path / "run" / "students" / "kd-0.safetensors"
    network = timm.create_model("test_resnet", num_classes=10, checkpoint_path=str(file)).eval()
    config = network.pretrained_cfg
    prepared = ((pixels() / 255 - torch.tensor(config["mean"])) / torch.tensor(config["std"])).permute(0, 3, 1, 2)
    student = kdrecipes.load_student(tmp_path / "run")
    with torch.no_grad():
        expected = torch.from_numpy(student.logits(pixels().numpy()))
        torch.testing.assert_close(network(prepared), expected, rtol=1e-4, atol=1e-4)
    again = recipe(tmp_path, f"teacher={{name='timm', model='test_resnet', pretrained='{file}', preflight='warn'}}")
    assert kdrecipes.run(again, tmp_path / "chain")["teachers"][0]["component"] == "timm"


def test_half_precision_and_terms_that_read_timms_layers(tmp_path, home):
    more = [
        'train.precision="bfloat16"',
        'loss={name="hint", student_layers=["layer3"], teacher_layers=["norm"], projector="linear"}',
        'teacher.model="test_convnext"',
        'loss.teacher_layers=["stages.2"]',
        "compare.baseline=false",
    ]
    report = kdrecipes.run(recipe(tmp_path, *more), tmp_path / "run")
    arrays = load_file(tmp_path / "run" / report["arms"][0]["student"])
    assert {array.dtype for array in arrays.values() if array.is_floating_point()} == {torch.float32}


def test_layers_are_listed_by_timms_names(tmp_path):
    from kdrecipes.runs.layers import readable_layers

    listed = {layer.name for layer in readable_layers(recipe(tmp_path), "student")}
    assert {"layer1", "layer3/0", "fc"} <= listed


@pytest.mark.parametrize("name", ["fashion_mnist_timm", "food101_b0_timm", "food101_b3_timm"])
def test_the_notebooks_networks_pass_a_dry_run(name, tmp_path, home):
    from kdrecipes.runs.dry_run import dry_run

    changes = ["teacher.pretrained=false", "student.pretrained=false", "train.batch_size=4", "train.accumulate=1"]
    small = ["dataset.image_size=32", "teacher.train.batch_size=4", "teacher.train.accumulate=1"]
    dry_run(kdrecipes.load_recipe(f"seed/{name}", [*changes, *small]))


def test_the_names_that_are_searched_are_timms():
    assert build.names() == {"model": sorted(timm.list_models())}
