"""Files with a checksum beside them, read while another process writes them."""

from __future__ import annotations

import pytest

from kdrecipes.disk import summed_files
from kdrecipes.disk.summed_files import read_summed, write_summed


def test_what_another_process_writes_meanwhile_is_no_damage(tmp_path, monkeypatch):
    file, sums, later = tmp_path / "sweep.json", summed_files._sums, ["third", "second"]
    write_summed(file, "first")

    def while_others_write(path):
        while later:  # two of them, after the text was read and before its checksum is
            monkeypatch.setattr(summed_files, "_sums", sums)
            write_summed(file, later.pop())
            monkeypatch.setattr(summed_files, "_sums", while_others_write)
        return sums(path)

    monkeypatch.setattr(summed_files, "_sums", while_others_write)
    assert read_summed(file) == "third"
    file.write_text("another")
    with pytest.raises(ValueError, match=r"hidden file \.sweep\.json\.sha256"):
        read_summed(file)
