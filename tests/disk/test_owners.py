"""A home that others share: what another user owns or can write there is neither read nor replaced."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from other_user import OTHER

from kdrecipes.disk import cache, owners
from kdrecipes.disk.download import fetch
from kdrecipes.disk.home import check_home, kept_at
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.runs import doctor_folders

ROOT = os.geteuid() == 0


@pytest.fixture
def full(home):
    """A home with something of each kind, as a run leaves it."""
    for name in ("stores/a/images.npy", "stores/.locks/a", "teachers/b/.lock", "outputs/c/meta.json", "weights/d.npz"):
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return home


@pytest.mark.parametrize("part", ["", "stores", "stores/a", "stores/a/images.npy"])
def test_what_another_user_owns_is_refused_by_its_name_and_his(full, give_away, part):
    kept_at("stores", "a")
    give_away(full / part)
    with pytest.raises(EnvironmentProblem) as caught:
        kept_at("stores", "a")
    told = str(caught.value)
    assert told.startswith(f"{full / part} belongs to user {OTHER}. ") and caught.value.exit_code == 3
    assert "Set KDRECIPES_HOME to a folder of your own." in told and told.endswith("set KDRECIPES_TRUST_OTHERS=1.")
    if part.startswith("stores"):
        assert kept_at("teachers", "b").is_dir(), "nobody is kept from his own entry by another's"


@pytest.mark.parametrize("part", ["", "stores", "stores/a", "stores/a/images.npy"])
@pytest.mark.parametrize(("right", "who"), [(0o002, "every user"), (0o020, "group ")])
def test_what_others_can_write_is_refused(full, monkeypatch, part, right, who):
    monkeypatch.setattr(owners, "_is_private", lambda group: False)
    full.chmod(0o755)
    (full / part).chmod(stat.S_IMODE((full / part).stat().st_mode) | right)
    with pytest.raises(EnvironmentProblem, match=f"^{full / part} can be written by {who}"):
        kept_at("stores", "a")


def test_what_is_one_s_own_and_open_is_mended_by_the_command_that_is_told(full, monkeypatch, call):
    monkeypatch.setattr(owners, "_is_private", lambda group: False)
    for path in (full, *full.rglob("*")):
        path.chmod(0o775)
    with pytest.raises(
        EnvironmentProblem, match=f"^{full} can be written by group .* is not used. Keep others out with"
    ):
        kept_at("stores", "a")
    mend = f"chmod go= {full}"
    [said] = [text for text in doctor_folders.folders() if text.name == "home"]
    assert said.mend.startswith(f"Keep others out with `{mend}`, or set KDRECIPES_HOME to another folder. Where ")
    subprocess.run(shlex.split(mend), check=True)
    assert kept_at("stores", "a").is_dir()


def test_a_home_keeps_nobody_out_of_what_a_link_leads_to(full, tmp_path):
    (full / "stores").rename(tmp_path / "elsewhere")
    (full / "stores").symlink_to(tmp_path / "elsewhere")
    full.chmod(0o700)
    (tmp_path / "elsewhere/a/images.npy").chmod(0o666)
    with pytest.raises(EnvironmentProblem, match=r"images\.npy can be written by every user") as caught:
        kept_at("stores", "a")
    assert f"`chmod go= {tmp_path / 'elsewhere'}`" in str(caught.value)
    (tmp_path / "elsewhere").chmod(0o700)
    assert kept_at("stores", "a").is_dir()


def test_an_entry_is_looked_through_once_and_not_beyond_the_first_that_is_found(full, give_away, monkeypatch):
    walked, walk = [], os.walk
    monkeypatch.setattr(os, "walk", lambda top: (walked.append(at[0]) or at for at in walk(top)))
    full.chmod(0o755)
    kept_at("stores", "a")
    assert walked == [str(full / "stores/a")]
    give_away(full / "stores/a")
    with pytest.raises(EnvironmentProblem):
        kept_at("stores", "a")
    assert len(walked) == 1


def test_a_link_that_leads_to_itself_is_one_message(call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    code, out, err = call("run", "digits", "--out", "loop")
    assert (code, out, err) == (3, "", "loop can't be written: File exists. Choose another folder with --out.\n")
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "loop"))
    code, out, err = call("run", "digits", "--out", "run")
    assert (code, out, len(err.splitlines())) == (3, "", 1) and err.startswith(f"{tmp_path / 'loop'}, where caches")
    [said] = [text for text in doctor_folders.folders() if text.name == "home"]
    assert said.found.endswith("loop is no folder")


def test_a_group_of_this_user_alone_is_no_other(full, monkeypatch):
    monkeypatch.setattr(owners, "_is_private", lambda group: True)
    full.chmod(0o775)
    (full / "stores/a/images.npy").chmod(0o664)
    assert kept_at("stores", "a") == full / "stores/a"


def test_only_a_group_of_the_user_s_own_name_without_others_is_private(monkeypatch):
    import grp
    import pwd

    me = pwd.struct_passwd(("ann", "x", os.geteuid(), 100, "", "", ""))
    monkeypatch.setattr(pwd, "getpwuid", lambda user: me)
    for number, name, members, private in [
        (100, "ann", [], True),
        (100, "ann", ["ann"], True),
        (100, "ann", ["bob"], False),
        (100, "users", [], False),
        (7, "ann", [], False),
    ]:
        found = grp.struct_group((name, "x", number, members))
        monkeypatch.setattr(grp, "getgrgid", lambda group, found=found: found)
        assert owners._is_private(number) == private, (number, name, members)


def test_a_new_home_keeps_others_out_and_then_rights_within_do_not_matter(home):
    before = os.umask(0)
    try:
        entry = kept_at("stores", "a")
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        entry.mkdir(parents=True)
        (entry / "images.npy").write_bytes(b"x")
    finally:
        os.umask(before)
    assert entry.stat().st_mode & 0o002 and kept_at("stores", "a") == entry
    home.chmod(0o755)
    with pytest.raises(EnvironmentProblem, match="can be written by every user"):
        kept_at("stores", "a")


def test_the_rights_of_a_home_that_is_there_stay(full):
    full.chmod(0o750)
    kept_at("stores", "new")
    assert stat.S_IMODE(full.stat().st_mode) == 0o750


def test_whoever_trusts_others_says_so_by_1(full, give_away, monkeypatch):
    full.chmod(0o777)
    give_away(full / "stores/a/images.npy")
    for said in ("", "0", "yes"):
        monkeypatch.setenv("KDRECIPES_TRUST_OTHERS", said)
        with pytest.raises(EnvironmentProblem):
            kept_at("stores", "a")
    monkeypatch.setenv("KDRECIPES_TRUST_OTHERS", "1")
    assert kept_at("stores", "a") == full / "stores/a"
    check_home()


def test_where_the_system_has_no_such_owners_nothing_is_asked(full, monkeypatch):
    full.chmod(0o777)
    monkeypatch.delattr(os, "geteuid")
    assert kept_at("stores", "a") == full / "stores/a"


@pytest.mark.skipif(not ROOT, reason="only root gives files away")
def test_a_user_trusts_root_and_himself_and_nobody_else(full, monkeypatch):
    for path in (full, *full.rglob("*")):
        os.chown(path, OTHER, OTHER)
    os.chown(full / "stores", 0, 0)
    full.chmod(0o755)
    with pytest.raises(EnvironmentProblem, match=f"{full} belongs to user {OTHER}"):
        kept_at("stores", "a")
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    assert kept_at("stores", "a") == full / "stores/a"
    os.chown(full / "stores/a", OTHER + 1, OTHER)
    with pytest.raises(EnvironmentProblem, match=f"stores/a belongs to user {OTHER + 1}"):
        kept_at("stores", "a")


def test_another_user_s_link_is_not_followed(full, give_away, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (full / "outputs/link").symlink_to(tmp_path / "elsewhere")
    assert kept_at("outputs", "link").is_dir(), "one's own leads where one wants"
    give_away(full / "outputs/link")
    with pytest.raises(EnvironmentProblem, match=f"outputs/link belongs to user {OTHER}"):
        kept_at("outputs", "link")


@pytest.mark.parametrize("part", ["", "stores"])
def test_where_a_link_leads_to_is_looked_at(full, tmp_path, part):
    real, link = full / part, tmp_path / "real"
    real.rename(link)
    real.symlink_to(link)
    full.chmod(0o755)
    kept_at("stores", "a")
    link.chmod(0o777)
    with pytest.raises(EnvironmentProblem, match=f"^{link} can be written by every user"):
        kept_at("stores", "a")


def test_a_run_is_refused_before_it_begins(full, give_away, call, tmp_path):
    give_away(full)
    code, out, err = call("run", "digits", "--out", tmp_path / "run")
    assert (code, out) == (3, "") and err.startswith(f"{full} belongs to user {OTHER}. ") and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_download_of_another_user_s_is_not_used(full, give_away):
    give_away(full / "weights/d.npz")
    with pytest.raises(EnvironmentProblem, match=r"d\.npz belongs to user"):
        fetch("http://127.0.0.1:9/d.npz")
    assert sorted(path.name for path in (full / "weights").iterdir()) == ["d.npz"]


def test_what_another_user_keeps_is_not_cleared(full, give_away, call):
    give_away(full / "outputs/c/meta.json")
    code, out, err = call("cache", "clear", "all", "--yes")
    assert code == 3 and out == "Removed 2 of 3: 2 B.\n"
    assert f"outputs c: {full / 'outputs/c/meta.json'} belongs to user {OTHER}; it was left." in err
    assert [entry.name for entry in cache.entries()] == ["c", "weights"]
