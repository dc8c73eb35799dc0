"""Files of the package stay small enough to be read at once, as CONTRIBUTING.md says."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 300


def test_no_file_of_the_package_is_longer_than_300_lines():
    files = [file for folder in ("kdrecipes", "plugins") for file in (ROOT / folder).rglob("*.py")]
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert len(lengths) > 300
    assert {file: length for file, length in lengths.items() if length > MOST_LINES} == {}
