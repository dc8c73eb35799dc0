"""Wheel and sdist: built from a clean copy, unpacked apart, and used from an empty folder."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from light_install import hidden_modules, hiding

import kdrecipes

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "plugins" / "kdrecipes-efficientnet-lite"
pytestmark = pytest.mark.slow
QUICK = [
    "--set",
    "student.width=2",
    "--set",
    "teacher.width=2",
    "--set",
    "train.epochs=1",
    "--set",
    "teacher.train.epochs=1",
    "--set",
    "report.measure=false",
    "--set",
    'dataset.train="train[:160]"',
    "--set",
    'teacher.preflight="warn"',
]


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def build(folder, *arguments):
    done = run([sys.executable, "-m", "build", "--no-isolation", *arguments, "--outdir", str(folder)])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Sdists of kdrecipes and the plugin, and wheels from these, built from copies: nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("packages")
    for source in (ROOT, PLUGIN):
        copy = folder / "copy" / source.name
        files = run(["git", "ls-files", "-co", "--exclude-standard", "."], cwd=source).stdout.splitlines()
        for name in files:
            if not (source is ROOT and name.startswith("tests/")) and os.path.lexists(source / name):
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, copy / name, follow_symlinks=False)
        build(folder, str(copy))
    return folder


def install(folder, *wheels):
    """Unpack wheels into a folder of their own; everything else comes from the environment."""
    done = run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--no-compile",
            "--target",
            str(folder),
            *map(str, wheels),
        ]
    )
    assert done.returncode == 0, done.stderr


def command(site, cwd, *arguments, hidden=()):
    """`kdrecipes ARGUMENTS` with the unpacked package first, in an empty folder, as its user would."""
    code = (
        "import sys, importlib.metadata as m\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        f"site = {str(site)!r}; sys.path.insert(0, site); find = m.MetadataPathFinder.find_distributions\n"
        # the environment's own editable kdrecipes and plugins are hidden, metadata too
        "ours = lambda d: not d.name.startswith('kdrecipes') or str(d._path).startswith(site)\n"
        "m.MetadataPathFinder.find_distributions = lambda *a: filter(ours, find(*a))\n"
        f"{hiding(hidden)}"
        "from kdrecipes.cli.main import main; main()"
    )
    cwd.mkdir(exist_ok=True)
    return run([sys.executable, "-I", "-c", code, *arguments], cwd=cwd, env=dict(os.environ))


def test_wheel_has_the_recipes_schemas_and_template_and_nothing_else(packages):
    (wheel,) = packages.glob("kdrecipes-0*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "kdrecipes/packaged_recipes/digits.toml",
        "kdrecipes/packaged_recipes/digits.json",
        "kdrecipes/packaged_recipes/quickstart.toml",
        "kdrecipes/packaged_recipes/seed/food101_b0_as_written.toml",
        "kdrecipes/schemas/structure.schema.json",
        "kdrecipes/schemas/recipe.schema.json",
        "kdrecipes/schemas/report.schema.json",
        "kdrecipes/schemas/compare.schema.json",
        "kdrecipes/schemas/describe.schema.json",
        "kdrecipes/schemas/doctor.schema.json",
        "kdrecipes/schemas/sweep.schema.json",
        "kdrecipes/report/model_card.md.jinja",
        "kdrecipes/py.typed",
        "kdrecipes/testing/__init__.py",
        *(path.relative_to(ROOT).as_posix() for path in (ROOT / "kdrecipes").rglob("*.py")),
        *(path.relative_to(ROOT).as_posix() for path in (ROOT / "kdrecipes" / "recipe" / "templates").rglob("*.jinja")),
        *(path.relative_to(ROOT).as_posix() for path in (ROOT / "kdrecipes" / "report" / "page").iterdir()),
    ):
        assert name in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"kdrecipes", f"kdrecipes-{kdrecipes.__version__}.dist-info"}


def test_sdist_has_what_building_needs(packages):
    (sdist,) = packages.glob("kdrecipes-0*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "kdrecipes/packaged_recipes/digits.toml"} <= names


def test_packaged_recipe_runs_by_name_from_any_folder(packages, tmp_path):
    """The wheel was built from the sdist. That an editable install runs one too, tests/runs/test_resume.py shows."""
    (package,) = packages.glob("kdrecipes-0*.whl")
    install(tmp_path / "site", package)
    done = command(tmp_path / "site", tmp_path / "empty", "run", "digits", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "student, distilled" in done.stdout
    assert (tmp_path / "empty" / "runs" / "digits" / "report.html").is_file()
    done = command(tmp_path / "site", tmp_path / "empty", "new", "plugin", "kdrecipes-mine")
    assert (done.returncode, done.stdout) == (0, "kdrecipes-mine\n"), done.stderr


def test_quickstart_needs_the_plugin_and_says_so(packages, tmp_path):
    (wheel,) = packages.glob("kdrecipes-0*.whl")
    install(tmp_path / "alone", wheel)
    done = command(tmp_path / "alone", tmp_path / "empty", "validate", "quickstart")
    assert done.returncode == 3
    assert "pip install kdrecipes-efficientnet-lite" in done.stderr and "Traceback" not in done.stderr
    (plugin,) = packages.glob("kdrecipes_efficientnet_lite-*.whl")
    install(tmp_path / "both", wheel, plugin)
    done = command(tmp_path / "both", tmp_path / "empty", "validate", "quickstart")
    assert (done.returncode, done.stdout) == (0, "quickstart  ok\n"), done.stderr


def test_a_plain_installation_validates_without_torch_and_says_what_a_run_needs(packages, tmp_path):
    wheels = [*packages.glob("kdrecipes-0*.whl"), *packages.glob("kdrecipes_efficientnet_lite-*.whl")]
    for wheel in wheels:
        name = next(name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/METADATA"))
        text = zipfile.ZipFile(wheel).read(name).decode()
        plain = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", text, re.MULTILINE)
        assert plain and not {"torch", "keras", "scipy", "matplotlib", "tensorflow-datasets"} & set(plain)
    install(tmp_path / "site", *wheels)
    hidden = hidden_modules()
    done = command(tmp_path / "site", tmp_path / "empty", "validate", "quickstart", "digits", hidden=hidden)
    assert (done.returncode, done.stdout) == (0, "quickstart  ok\ndigits  ok\n"), done.stderr
    done = command(tmp_path / "site", tmp_path / "empty", "run", "quickstart", hidden=hidden)
    assert done.returncode == 3 and "pip install 'kdrecipes[run]'" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "torch" in done.stderr
