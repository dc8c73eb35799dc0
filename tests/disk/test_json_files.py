"""Sealed and summed files: whichever bit flips, the damage is seen, and a kill between two writes is none."""

import json

import pytest

from kdrecipes.disk import summed_files
from kdrecipes.disk.json_files import read_json, write_sealed
from kdrecipes.disk.summed_files import read_summed, write_summed

LOCK = {"decisions": {"compile": {"use": False, "why": "x"}}, "seed": 0.1, "of": (1, 2), "name": "é\udcff"}
READ = {**LOCK, "of": [1, 2]}


def test_a_sealed_file_gives_back_what_was_written(tmp_path):
    write_sealed(tmp_path / "x", LOCK)
    assert read_json(tmp_path / "x") == READ
    assert json.loads((tmp_path / "x").read_text())["decisions"] == READ["decisions"], "anybody can read it"


def test_whichever_bit_of_a_sealed_file_flips_its_content_is_refused_or_the_same(tmp_path):
    write_sealed(tmp_path / "x", LOCK)
    content = (tmp_path / "x").read_bytes()
    for at in range(len(content)):
        for bit in (0, 5):
            (tmp_path / "x").write_bytes(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
            try:
                found = read_json(tmp_path / "x")
            except ValueError:
                continue
            # A flip in the seal's own name hides the seal, and nothing else.
            assert {key: found.get(key) for key in READ} == READ, (at, bit)
    for at in range(len(content) - 1):
        (tmp_path / "x").write_bytes(content[:at])
        with pytest.raises(ValueError):
            read_json(tmp_path / "x")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a": NaN}', "\udcff"])
def test_what_is_no_json_is_one_kind_of_error(tmp_path, text):
    (tmp_path / "x").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError):
        read_json(tmp_path / "x")


def test_whichever_byte_of_a_summed_file_changes_it_is_refused(tmp_path):
    text = '{"epoch": 1, "loss": 0.25}\n{"epoch": 2, "loss": 0.125}\n'
    write_summed(tmp_path / "x", text)
    assert read_summed(tmp_path / "x") == text
    content = text.encode()
    for at in range(len(content)):
        for changed in (content[:at], content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]):
            (tmp_path / "x").write_bytes(changed)
            with pytest.raises(ValueError, match="checksum"):
                read_summed(tmp_path / "x")
    (tmp_path / ".x.sha256").unlink()  # as of an earlier version
    assert read_summed(tmp_path / "x") == changed.decode()


def test_a_kill_between_two_writes_leaves_a_text_that_is_known(tmp_path, monkeypatch):
    real, writes = summed_files.new_file, []

    def killed(path, mode):
        writes.append(path.name)
        if path.name == "x" and len(writes) > 2:
            raise KeyboardInterrupt
        return real(path, mode)

    monkeypatch.setattr(summed_files, "new_file", killed)
    write_summed(tmp_path / "x", "first")
    for text in ("second", "third"):
        with pytest.raises(KeyboardInterrupt):
            write_summed(tmp_path / "x", text)
        assert read_summed(tmp_path / "x") == "first"
    monkeypatch.undo()
    (tmp_path / "x").write_text("damaged")
    write_summed(tmp_path / "x", "fourth")
    assert read_summed(tmp_path / "x") == "fourth"


@pytest.mark.parametrize("name", ["history.jsonl", "sweep.json"])
def test_a_copy_without_hidden_files_over_an_earlier_one_is_told_with_the_hidden_file_to_remove(tmp_path, name):
    write_summed(tmp_path / name, "first")
    sums = (tmp_path / f".{name}.sha256").read_bytes()
    for text in ("second", "third"):
        write_summed(tmp_path / name, text)
    (tmp_path / f".{name}.sha256").write_bytes(sums)  # as in a copy of before, which got only the other file anew
    told = rf"in the hidden file \.{name}\.sha256; if the folder was copied without hidden files, remove that one$"
    with pytest.raises(ValueError, match=told):
        read_summed(tmp_path / name)
    (tmp_path / f".{name}.sha256").unlink()
    assert read_summed(tmp_path / name) == "third"
    write_summed(tmp_path / name, "fourth")
    assert read_summed(tmp_path / name) == "fourth"
