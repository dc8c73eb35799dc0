"""What of a distiller is saved, by whichever of Keras' ways: its student, whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from distilling import fit, layers, logits_of, made, net

from kdrecipes import KD, Hint
from kdrecipes.backend import keras
from kdrecipes.training.projector import Projected

WAYS = {
    "distiller.save": ("d.keras", lambda distiller, path: distiller.save(path)),
    "keras.saving.save_model": ("d.keras", keras.saving.save_model),
    "keras.models.save_model": ("d.keras", keras.models.save_model),
    "a path as text": ("d.keras", lambda distiller, path: keras.saving.save_model(distiller, str(path))),
    "over an earlier file": ("d.keras", lambda distiller, path: [keras.saving.save_model(distiller, path)] * 2),
    "HDF5": ("d.h5", keras.saving.save_model),
}


@pytest.fixture(scope="module")
def distiller(data):
    distiller = made(teacher=net(1), loss=[KD(), Projected(Hint(("feature",), ("feature",)))])
    fit(distiller, *data)
    return distiller


@pytest.mark.parametrize(("name", "save"), WAYS.values(), ids=WAYS)
def test_every_way_of_saving_a_distiller_writes_its_student(distiller, data, tmp_path, name, save):
    save(distiller, tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    again = keras.saving.load_model(tmp_path / name, compile=False)
    assert type(again) is type(distiller.student)
    np.testing.assert_allclose(logits_of(again, data[0]), logits_of(distiller.student, data[0]), atol=1e-6)


def test_a_folder_in_place_of_a_file_holds_the_student_too(distiller, tmp_path):
    keras.saving.save_model(distiller, tmp_path / "folder", zipped=False)
    keras.saving.save_model(distiller.student, tmp_path / "student", zipped=False)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    one, other = ((tmp_path / name / "config.json").read_text() for name in ("folder", "student"))
    assert one == other


def test_the_student_is_exported(distiller, data, tmp_path, capsys):
    distiller.export(tmp_path / "student.pt2", format="torch")
    assert [file.name for file in tmp_path.iterdir()] == ["student.pt2"]
    exported = torch.export.load(tmp_path / "student.pt2").module()
    one = data[0][:1]
    np.testing.assert_allclose(exported(torch.as_tensor(one)).detach(), logits_of(distiller.student, one), atol=1e-5)
    assert "pt2" not in capsys.readouterr().out, "the name of the file that is moved is nobody's matter"


@pytest.mark.parametrize("options", [{}, {"max_shard_size": 0.001}], ids=["one file", "shards"])
@pytest.mark.parametrize("save", [lambda d, *a, **o: d.save_weights(*a, **o), keras.saving.save_weights])
def test_weights_are_those_of_all_that_trains(distiller, tmp_path, save, options):
    name = "d.weights.json" if options else "d.weights.h5"
    save(distiller, tmp_path / name, **options)
    saved, again = distiller.get_weights(), made(net(5), teacher=net(1), loss=distiller.terms)
    for variable in again.weights:
        variable.assign(variable + 1)
    again.load_weights(tmp_path / name)
    assert all(np.array_equal(a, b) for a, b in zip(saved, again.get_weights(), strict=True))
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_the_weights_of_a_saved_student_go_into_a_distiller(distiller, data, tmp_path):
    distiller.save(tmp_path / "best.keras")
    other = made(net(5), teacher=net(1), loss=KD())
    other.load_weights(tmp_path / "best.keras")
    np.testing.assert_allclose(logits_of(other.student, data[0]), logits_of(distiller.student, data[0]), atol=1e-6)


FAILING = {
    **WAYS,
    "a folder": ("folder", lambda d, path: keras.saving.save_model(d, path, zipped=False)),
    "weights": ("d.weights.h5", lambda d, path: d.save_weights(path)),
    "export": ("d.pt2", lambda d, path: d.export(path, format="torch")),
}


@pytest.mark.parametrize("moment", ["before", "midway"])
@pytest.mark.parametrize(("name", "save"), FAILING.values(), ids=FAILING)
def test_saving_that_fails_leaves_no_file_and_the_earlier_one_as_it_was(
    data, tmp_path, monkeypatch, name, save, moment
):
    distiller = made()
    fit(distiller, *data)

    def fails(*args, **options):
        raise RuntimeError("a full disk")

    def writes_a_part(program, path, **options):
        Path(path).write_bytes(b"half")
        fails()

    last = distiller.student.layers[-1]
    monkeypatch.setattr(torch.export, "save", fails if moment == "before" else writes_a_part)
    if moment == "before":
        monkeypatch.setattr(type(distiller.student), "get_config", fails)
        monkeypatch.setattr(type(distiller.student), "save_own_variables", fails)
    else:  # the last layer's, once the first ones' are written
        monkeypatch.setitem(last.__dict__, "save_own_variables", fails)
        monkeypatch.setattr(layers.Dense, "weights", property(fails))
    with pytest.raises(Exception, match="a full disk"):
        save(distiller, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    if name != "folder":
        (tmp_path / name).write_bytes(b"earlier")
        with pytest.raises(Exception, match="a full disk"):
            save(distiller, tmp_path / name)
        assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(name, b"earlier")]


def test_a_place_that_is_not_there_is_told_by_its_own_name(distiller, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent/d\.keras"):
        distiller.save(tmp_path / "absent" / "d.keras")


def test_other_models_are_saved_as_before(tmp_path):
    model = net()
    keras.saving.save_model(model, tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.keras", "m.weights.h5"]
    assert keras.saving.load_model(tmp_path / "m.keras").count_params() == model.count_params()
