"""Where passing folders are made, and that they go."""

import tempfile
from pathlib import Path

from kdrecipes.disk.passing import new_passing_folder, passing_folder, passing_within


def test_it_goes_with_all_that_is_in_it(tmp_path):
    with passing_folder(tmp_path / "run") as folder:
        (folder / "student.keras").touch()
        assert folder.parent == tmp_path / "run"
    assert not list((tmp_path / "run").iterdir())


def test_in_a_run_it_is_in_the_runs_folder_and_else_where_the_system_has_its_own(tmp_path):
    with passing_within(tmp_path / "sweep"), passing_within(tmp_path / "sweep" / "point"):
        assert new_passing_folder().parent == tmp_path / "sweep" / "point"
    with passing_folder() as folder:
        assert folder.parent == Path(tempfile.gettempdir())
