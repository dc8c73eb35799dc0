"""What is kept under KDRECIPES_HOME: listed, removed by name or kind, never what is in use or somebody else's."""

from __future__ import annotations

import json
import os
import sys
from io import StringIO

import pytest

from kdrecipes.cli import main as cli
from kdrecipes.disk import cache
from kdrecipes.disk.files import locked
from kdrecipes.errors import EnvironmentProblem


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A home with one thing of each kind, and somebody's data that it links to."""
    home = tmp_path / "home"
    monkeypatch.setenv("KDRECIPES_HOME", str(home))
    sizes = {
        "stores/digits-train-01/images.npy": 3000,
        "stores/digits-train-01/meta.json": 50,
        "stores/.digits-test-02.0123456789ab/images.npy": 7,  # of a killed process
        "stores/.locks/01": 0,
        "teachers/cnn-03/weights": 2_000_000,
        "teachers/cnn-03/.lock": 0,
        "outputs/cnn-04/epoch-0000.float16": 400,
        "outputs/cnn-05/epoch-0000.float16": 500,
        "outputs/.locks/cnn-04": 0,
        "tfds/mnist/data": 60,
        "weights/BiT-M-R50x1.npz": 90,
        "weights/.BiT-M-R50x1.npz.lock": 0,
        "mine/data": 9,
    }
    for name, size in sizes.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"x" * size)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "train-images").write_bytes(b"x" * 10_000)
    (home / "fashion_mnist").symlink_to(tmp_path / "elsewhere")
    os.utime(home / "outputs/cnn-04/epoch-0000.float16", (2_000_000_000, 1_000_000_000))
    return home


@pytest.fixture
def call(monkeypatch, capsys):
    def call(*arguments: str, answer: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kdrecipes", "cache", *arguments])
        monkeypatch.setattr(sys, "stdin", StringIO(answer))
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return call


def names() -> set[str]:
    return {f"{entry.kind} {entry.name}" for entry in cache.entries()}


ALL = {
    "stores digits-train-01",
    "stores .digits-test-02.0123456789ab",
    "teachers cnn-03",
    "outputs cnn-04",
    "outputs cnn-05",
    "downloads fashion_mnist",
    "downloads tfds",
    "downloads weights",
}


def test_everything_kept_is_listed_with_its_size_and_nothing_else(kept):
    assert names() == ALL
    sizes = {entry.name: entry.bytes for entry in cache.entries()}
    assert sizes["digits-train-01"] == 3050 and sizes["cnn-03"] == 2_000_000 and sizes["tfds"] == 60
    assert sizes["fashion_mnist"] < 1000, "a link is not what it leads to"
    (entry,) = (entry for entry in cache.entries() if entry.name == "cnn-04")
    assert entry.used == 2_000_000_000, "the last reading counts"


def test_the_command_lists_every_entry_and_their_sum(kept, call):
    code, out, err = call("list")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [tuple(line.split()[:2]) for line in lines[:-1]] == [(entry.kind, entry.name) for entry in cache.entries()]
    assert lines[2].split()[2:4] == ["2", "MB"] and lines[2].split()[-2].startswith("20")
    assert lines[-1] == f"2 MB in {kept}"


def test_the_listing_in_json_holds_what_the_table_shows(kept, call):
    code, out, err = call("list", "--json")
    listing = json.loads(out)
    assert (code, err) == (0, "") and list(listing) == ["home", "bytes", "entries"]
    assert listing["home"] == str(kept) and listing["bytes"] == sum(row["bytes"] for row in listing["entries"])
    assert all(list(row) == ["kind", "name", "bytes", "used", "recipes"] for row in listing["entries"])
    assert {f"{row['kind']} {row['name']}" for row in listing["entries"]} == ALL


def test_an_entry_names_the_recipes_that_it_served(kept, call):
    for recipe in ("pets", "digits", "digits", "flowers", "a.b-c_d"):
        cache.note_served(kept / "outputs" / "cnn-04", recipe)
    cache.note_served(kept / "outputs" / "removed", "digits")
    assert not (kept / "outputs" / "removed").exists(), "an entry that was removed stays so"
    (kept / "tfds" / "served").mkdir()
    (kept / "tfds" / "served" / "data").touch()
    served = {entry.name: entry.served for entry in cache.entries() if entry.served}
    assert served == {"cnn-04": ("a.b-c_d", "digits", "flowers", "pets")}, "what a download holds is no note of ours"
    lines = call("list")[1].splitlines()
    assert [line for line in lines if "digits, flowers" in line] == [line for line in lines if " cnn-04 " in line]
    assert any(line.endswith("  a.b-c_d, digits, flowers and 1 more") for line in lines)
    rows = json.loads(call("list", "--json")[1])["entries"]
    assert [row["recipes"] for row in rows if row["name"] == "cnn-04"] == [["a.b-c_d", "digits", "flowers", "pets"]]
    assert call("clear", "outputs", "--yes")[0] == 0 and not (kept / "outputs" / "cnn-04").exists()


def test_an_empty_home_lists_nothing_and_is_not_made(tmp_path, monkeypatch, call):
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "nothing"))
    assert call("list") == (0, f"0 B in {tmp_path / 'nothing'}\n", "")
    assert call("clear", "all", "--yes") == (0, "Nothing to clear.\n", "")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("chosen", "gone"),
    [
        (["cnn-04"], {"outputs cnn-04"}),
        (["cnn-04", "outputs"], {"outputs cnn-04", "outputs cnn-05"}),
        (["stores", "cnn-03"], {"stores digits-train-01", "stores .digits-test-02.0123456789ab", "teachers cnn-03"}),
        (["all"], {entry for entry in ALL if not entry.startswith("downloads")}),
        (["downloads"], {"downloads fashion_mnist", "downloads tfds", "downloads weights"}),
    ],
)
def test_clear_removes_what_is_named(kept, call, chosen, gone):
    code, out, err = call("clear", *chosen, "--yes")
    assert code == 0 and names() == ALL - gone
    assert out.startswith(f"Removed {len(gone)} of {len(gone)}: ")
    assert {" ".join(line.split()[:2]) for line in err.splitlines()} == gone, "what it frees is told"
    assert (kept / "mine" / "data").is_file() and (kept.parent / "elsewhere" / "train-images").is_file()


@pytest.mark.parametrize(("answer", "removed"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False)])
def test_clear_removes_only_after_a_yes(kept, call, answer, removed):
    code, out, err = call("clear", "outputs", answer=answer)
    assert code == 0 and ("outputs cnn-04" not in names()) == removed
    assert "Remove these and free 900 B? [y/N]" in err
    assert out == ("Removed 2 of 2: 900 B.\n" if removed else "Nothing was removed.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say what to clear: names that `kdrecipes cache list` shows"),
        (["outputs"], "Nothing was removed: nobody answered. --yes does not ask."),
        (["output", "--yes"], "Received: 'output'; did you mean 'outputs'?"),
        (["cnn-4", "--yes"], "Received: 'cnn-4'; did you mean 'cnn-04'?"),
        (["cnn-04", "mine", "--yes"], "Received: 'mine'; `kdrecipes cache list` shows what there is."),
        (["../home", "--yes"], "Received: '../home'"),
        (["tfds", "--yes"], "'tfds' came from elsewhere"),
        (["all", "fashion_mnist", "--yes"], "'fashion_mnist' came from elsewhere"),
    ],
)
def test_what_is_not_understood_removes_nothing(kept, call, arguments, message):
    code, out, err = call("clear", *arguments)
    assert (code, out) == (2, "") and message in err
    assert names() == ALL


@pytest.mark.parametrize(
    ("lock", "left"),
    [
        ("teachers/cnn-03/.lock", {"teachers cnn-03"}),
        ("outputs/.locks/cnn-04", {"outputs cnn-04"}),
        ("stores/.locks/01", {"stores digits-train-01", "stores .digits-test-02.0123456789ab"}),
    ],
)
def test_what_a_running_process_makes_is_left_and_told(kept, call, lock, left):
    with locked(kept / lock):
        code, out, err = call("clear", "all", "--yes")
    downloads = {"downloads fashion_mnist", "downloads tfds", "downloads weights"}
    assert code == 3 and names() == left | downloads
    assert out.startswith(f"Removed {5 - len(left)} of 5: ")
    for entry in left:
        assert f"{entry}: a running process is making it, or one of its kind; it was left." in err
    assert call("clear", "all", "--yes")[0] == 0 and names() == downloads


def test_locks_outlive_what_they_guard(kept, call):
    """Who waits for one must find it in its place."""
    call("clear", "all", "--yes")
    assert (kept / "outputs" / ".locks" / "cnn-04").is_file() and (kept / "stores" / ".locks" / "01").is_file()


def test_an_entry_that_is_gone_meanwhile_is_no_error(kept):
    (entry,) = (entry for entry in cache.entries() if entry.name == "cnn-04")
    cache.remove(entry)
    cache.remove(entry)


def test_a_folder_that_cannot_be_written_is_named(kept, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    (entry,) = (entry for entry in cache.entries() if entry.name == "cnn-04")
    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(EnvironmentProblem, match=r"cnn-04 can't be written: Permission denied"):
        cache.remove(entry)
