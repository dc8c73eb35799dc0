"""Digests of a fixed set of runs, to hold one commit against another: "same bits or say why".

    python tests/same_bits.py [NAME …]        prints one line for each recipe, or for those named

Only what the package promises to everybody is used (`load_recipe`, `run`, the files of a run folder), so the same file
runs on commits whose modules stand elsewhere. It trains on digits and on one core: about a minute.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # sums in one order, whatever the machine
os.environ["CUDA_VISIBLE_DEVICES"] = ""

VALID = Path(__file__).parent / "recipes" / "valid"
NOT_RUN = {
    "extends.toml": "names a folder that is not there",
    "weights_of_a_file.toml": "names weights that are not there",
}
# Most name digits, which has no validation split: what a run of them needs. The fingerprint is that of the file itself.
RUNNABLE = ("dataset.validation=0.2",)
REGARDLESS = (*RUNNABLE, 'teacher.preflight="warn"')
LAYERS = 'student_layers=["stage2b_relu"], teacher_layers=["stage2b_relu"], projector="linear"'
SAME_SIZE = f'loss.terms=[{{name="kd", weight=0}}, {{name="hint", weight=0.5, {LAYERS}}}]'
OVERRIDES = {
    "everything.toml": (*REGARDLESS, 'student={name="cnn", image_size=24}', "teacher.train.compile=false"),
    "inline_tables.toml": (),
    "just_within_the_rules.json": (*REGARDLESS, 'loss.student_layers=["stage2b_relu"]'),
    "just_within_the_rules.toml": (*REGARDLESS, SAME_SIZE, 'dataset.test="test"'),
    "random_resized_crop.toml": (),
    "teacher_as_it_is.toml": REGARDLESS,
    "with_teacher.json": (),
}

HEAD = """
schema_version = 1
seed = 3
[dataset]
name = "digits"
validation = 0.2
image_size = 12
{views}
[teacher]
name = "cnn"
width = 8
depth = 2
{teacher}
[teacher.train]
epochs = 2
[teacher.train.optimizer]
name = "sgd"
learning_rate = 0.05
weight_decay = 1e-4
nesterov = true
[student]
{student}
[loss]
{loss}
[compare]
seeds = [0, 1]
"""
CNN = 'name = "cnn"\nwidth = 4\ndepth = 2'
KD = 'name = "kd"\nlabel_weight = 0.3\nweight = 0.7\ntemperature = 2.0'
TRAIN = "[train]\nepochs = 2\nbatch_size = 64"
EVERY_VIEW = """[dataset.views]
flip = true
crop_padding = 1
rotation = 15
mixup = 0.2
[dataset.views.random_erasing]
probability = 0.5"""
BOX = "[dataset.views]\nflip = true\n[dataset.views.random_resized_crop]\nscale = [0.4, 1.0]"
AVERAGED = """[train]
epochs = 3
batch_size = 32
precision = "bfloat16"
ema = 0.9
accumulate = 2
clip_norm = 1.0
class_weight = "balanced"
head_learning_rate_factor = 2
recalibrate_batch_norm = 4
[train.schedule]
name = "one_cycle" """
TERMS = """label_weight = 0.5
label_smoothing = 0.1
[[loss.terms]]
name = "dist"
weight = 0.3
[[loss.terms]]
name = "hint"
student_layers = ["stage2b_relu"]
teacher_layers = ["stage2b_relu"]
projector = "linear"
weight = 0.05"""
TORCH_STUDENT = '''
"""A torch module as a student, for same_bits.py."""
import kdrecipes


def build(classes: int, image_size: int):
    import torch

    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.BatchNorm2d(6)
            self.head = torch.nn.Linear(6, classes)

        def forward(self, pixels):
            x = torch.relu(self.norm(self.conv(pixels.permute(0, 3, 1, 2) / 255)))
            return self.head(x.mean((2, 3)))

    return Small()


@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(
        kind="model", name="small_torch", build=build, summary="a torch module",
        options={"type": "object", "additionalProperties": False, "properties": {
            "classes": {"type": "integer"}, "image_size": {"type": "integer"}}},
    )
'''
OWN = {
    "every_view": HEAD.format(views=EVERY_VIEW, teacher="image_size = 16", student=CNN, loss=KD) + TRAIN,
    "resized_crops": HEAD.format(views=BOX, teacher="image_size = 16", student=CNN, loss=KD) + TRAIN,
    "no_views_stock_keras": HEAD.format(views="", teacher="image_size = 16", student=CNN, loss=KD)
    + TRAIN
    + "\nfast = false",
    "averaged_bfloat16": HEAD.format(views=EVERY_VIEW, teacher="image_size = 16", student=CNN, loss=KD) + AVERAGED,
    "live_teacher_terms": HEAD.format(views=BOX, teacher='cache = "off"', student=CNN, loss=TERMS) + TRAIN,
    "torch_student": HEAD.format(views=BOX, teacher="image_size = 16", student='name = "small_torch"', loss=KD) + TRAIN,
}


def digest(parts: Iterator[tuple[str, bytes]]) -> str:
    """The first 16 hex digits of the sha256 of named parts, by name."""
    content = hashlib.sha256()
    for name, data in sorted(parts):
        content.update(f"{name} {len(data)} ".encode() + data)
    return content.hexdigest()[:16]


def arrays_of(npz: Path) -> Iterator[tuple[str, bytes]]:
    """The members of an .npz file; the zip around them holds the time."""
    with zipfile.ZipFile(npz) as archive:
        yield from ((name, archive.read(name)) for name in archive.namelist())


def weights_of(student: Path) -> Iterator[tuple[str, bytes]]:
    """A saved student's weights by name; what its file says of itself, such as dates, is left aside."""
    if student.suffix != ".keras":
        from safetensors.numpy import load_file

        yield from ((name, array.tobytes()) for name, array in load_file(student).items())
        return
    import h5py

    with zipfile.ZipFile(student) as archive, archive.open("model.weights.h5") as inner, h5py.File(inner) as file:
        found: list[tuple[str, bytes]] = []
        file.visititems(
            lambda n, part: found.append((n, part[()].tobytes())) if isinstance(part, h5py.Dataset) else None
        )
        yield from found


def line(name: str, source: Path, plugins: list[Path], overrides: tuple[str, ...], out: Path) -> str:
    """One recipe's digests: of the recipe, of predictions.npz, and of each student's weights."""
    import kdrecipes

    asked = kdrecipes.load_recipe(source, plugins=plugins).fingerprint[:16]
    if why := NOT_RUN.get(name):
        return f"{name}: recipe {asked}; not run: {why}"
    try:
        kdrecipes.run(kdrecipes.load_recipe(source, overrides, plugins=plugins), out, device="cpu")
    except kdrecipes.KDRecipesError as error:
        return f"{name}: recipe {asked}; {type(error).__name__}: {' '.join(str(error).split())}"
    saved = sorted(s for s in (out / "students").iterdir() if s.suffix != ".json")
    students = " ".join(f"{s.stem} {digest(weights_of(s))}" for s in saved)
    return f"{name}: recipe {asked}; predictions {digest(arrays_of(out / 'predictions.npz'))}; {students}"


def main(wanted: list[str]) -> None:
    """Print the lines."""
    names = [*OWN, *sorted(path.name for path in VALID.iterdir() if path.suffix in (".toml", ".json"))]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ["KDRECIPES_HOME"] = str(home / "home")
        plugin = home / "small_torch.py"
        plugin.write_text(TORCH_STUDENT, encoding="utf-8")
        for name in [n for n in names if n in wanted or not wanted]:
            source = VALID / name
            if name in OWN:
                source = home / f"{name}.toml"
                source.write_text(f'name = "{name}"\n{OWN[name]}', encoding="utf-8")
            print(
                line(
                    name, source, [plugin], OVERRIDES.get(name, () if name in OWN else RUNNABLE), home / "runs" / name
                ),
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
