"""What `make lint` makes of known vulnerabilities: a fake pip-audit answers as the real one does."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / ".ci/audit.py"
SOUND = {"name": "rich", "version": "15.0.0", "vulns": []}
SKIPPED = {"name": "ours", "skip_reason": "Dependency not found on PyPI and could not be audited: ours (1.0)"}
FOUND = {
    "name": "pillow",
    "version": "10.1.0",
    "vulns": [{"id": "PYSEC-2024-1", "fix_versions": ["10.2.0"], "aliases": ["CVE-2023-50447"], "description": "…"}],
}
UNMENDED = {"name": "pip", "version": "1.0", "vulns": [{"id": "GHSA-1", "fix_versions": [], "aliases": []}]}


@pytest.fixture
def pip_audit(tmp_path):
    """`pip_audit(*packages)` or `pip_audit(stderr=…)`: the path of a command that answers so, to the right question."""

    def made(*packages, stderr="", code=0):
        answer = json.dumps({"dependencies": packages, "fixes": []}) if packages else ""
        file = tmp_path / "pip-audit"
        file.write_text(
            f"#!{sys.executable}\n"
            "import sys\n"
            "a = sys.argv\n"
            'asked = a[1:3] == ["-r", "constraints.txt"] and "--no-deps --disable-pip --format json" in " ".join(a)\n'
            f"sys.stdout.write({answer!r} if asked else '')\n"
            f"sys.stderr.write({stderr!r} if asked else 'another question')\n"
            f"sys.exit({code} if asked else 3)\n"
        )
        file.chmod(0o755)
        return file

    return made


def audited(command):
    words = [sys.executable, str(SCRIPT), str(command), "constraints.txt"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_a_known_vulnerability_fails_with_name_version_id_and_what_mends_it(pip_audit):
    code, out, err = audited(pip_audit(SOUND, FOUND, UNMENDED, stderr="Found 2 known vulnerabilities", code=1))
    assert (code, out) == (1, "")
    assert "pillow 10.1.0: PYSEC-2024-1, mended in 10.2.0\n" in err
    assert "pip 1.0: GHSA-1, mended in no version yet\n" in err
    assert "known vulnerabilities: 2." in err and "ACCEPTED of .ci/audit.py" in err


def test_sound_versions_pass_and_are_counted(pip_audit):
    assert audited(pip_audit(SOUND, SOUND)) == (0, "audit: no vulnerability is known in 2 packages.\n", "")


def test_what_could_not_be_asked_about_is_named_beside_what_could(pip_audit):
    code, out, err = audited(pip_audit(SOUND, SKIPPED))
    assert (code, err) == (0, "")
    assert "1 of 2 packages could not be asked about: ours.\n" in out and "known in 1 packages." in out
    code, out, err = audited(pip_audit(FOUND, SKIPPED, code=1))
    assert code == 1 and "could not be asked about" in out and "PYSEC-2024-1" in err


@pytest.mark.parametrize(
    "reason",
    [
        "requests.exceptions.ConnectionError: Max retries exceeded: Failed to resolve 'pypi.org'",
        "requests.exceptions.ReadTimeout: Read timed out. (read timeout=15)",
        "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed\n"
        "ERROR:pip_audit._cli:Tip: your network may be blocking this service. Try another service with `-s SERVICE`",
        "pip_audit._service.interface.ServiceError",
    ],
)
def test_without_a_network_it_is_skipped_and_says_so(reason, pip_audit):
    code, out, err = audited(pip_audit(stderr=f"Traceback (most recent call last):\n{reason}", code=1))
    assert (code, err) == (0, "")
    last = reason.splitlines()[-1]
    assert out == f"audit: skipped: the service of known vulnerabilities can't be reached ({last}).\n"


def test_a_service_that_knows_no_package_counts_as_none(pip_audit):
    code, out, _ = audited(pip_audit(SKIPPED, SKIPPED))
    assert code == 0
    assert (
        out.startswith("audit: skipped: the service of known vulnerabilities can't be reached") and "2 packages" in out
    )


def test_an_audit_that_fails_for_another_reason_is_no_pass(pip_audit, tmp_path):
    code, out, err = audited(
        pip_audit(stderr="WARNING: …\nERROR:pip_audit._cli:requirement rich is not pinned", code=1)
    )
    assert (code, out) == (2, "") and err.endswith("requirement rich is not pinned\n")
    code, out, err = audited(tmp_path / "nowhere")
    assert (code, out) == (2, "") and "can't be started" in err


def test_an_accepted_vulnerability_passes_by_any_of_its_names_and_is_told(pip_audit, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    main = runpy.run_path(str(SCRIPT))["main"]
    command = str(pip_audit(SOUND, FOUND, code=1))
    for name in ("PYSEC-2024-1", "CVE-2023-50447"):
        assert main(command, "constraints.txt", {name: "no ImageMath here"}) == 0
        out = capsys.readouterr().out
        assert "pillow 10.1.0: PYSEC-2024-1, accepted: no ImageMath here\n" in out and "no further" in out
    assert main(command, "constraints.txt", {"CVE-1": "another"}) == 1


def test_lint_audits_what_the_tests_run_with():
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].partition("\n\n")[0]
    assert "$(BIN)/python .ci/audit.py $(BIN)/pip-audit constraints.txt" in recipe
