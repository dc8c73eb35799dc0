"""What a saved network's file says beside its weights: class names, sizes, how an image becomes what it sees."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kdrecipes.disk.files import new_file
from kdrecipes.disk.npz_sizes import DAMAGE
from kdrecipes.errors import UsageError, one_line

MEMBER = "kdrecipes.json"  # in a .keras archive, where Keras leaves alone what it does not know
KEY = "kdrecipes"  # in the header of a .safetensors file
ENDINGS = (".keras", ".safetensors")
_EARLIER = {"background": [0, 0, 0], "max_pixels": 89_478_485, "network": ""}  # what held when there were no such keys
_LARGEST_SIDE = 4096  # pixels: what a recipe may ask for at most
_LARGEST = 64 * 2**20  # bytes that are read of what a stranger's file says of itself


@dataclass(frozen=True)
class SavedFacts:
    """What somebody needs who has the file alone.

    Attributes:
        classes: the class names, in the order of the outputs.
        image_size: pixels per side that the network sees.
        resize: "squash" or "crop": how an image that is not square becomes square.
        store_size: pixels per side that an image has first, as in the store; from there it comes to `image_size`.
        component: the model component that built the network, or that `network` was made of.
        options: what the component was given; a `.safetensors` file holds no network, and one is built anew of these.
        recipe_sha256: fingerprint of the recipe that it was trained by, hex.
        background: RGB, each from 0 to 255, of what images with transparent pixels are laid on.
        max_pixels: of an image that is unpacked; one of more can't be read.
        network: what it is where a term put another network in the component's place, in words; empty where it is the
            component's. Only a file that holds the whole network can be opened then.
    """

    classes: list[str]
    image_size: int
    resize: str
    store_size: int
    component: str
    options: dict[str, Any]
    recipe_sha256: str
    background: list[int]
    max_pixels: int
    network: str = ""


def write_saved_facts(file: Path, facts: SavedFacts) -> None:
    """Put the facts into a network's file, in place; what else it holds stays as it is.

    Args:
        file: a whole `.keras` or `.safetensors` file that says nothing of itself yet, and that nobody reads yet.
        facts: to be put in.
    """
    text = _text(facts)
    if file.suffix == ".keras":
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(MEMBER, text)
        return
    content = file.read_bytes()
    header, start = _header(content)
    header["__metadata__"] = {**header.get("__metadata__", {}), KEY: text}
    written = json.dumps(header).encode()
    written += b" " * (-len(written) % 8)  # as the format wants it; the offsets count from the header's end
    file.write_bytes(len(written).to_bytes(8, "little") + written + content[start:])


def write_beside(file: Path, facts: SavedFacts, sha256: str = "") -> None:
    """Write the facts into a JSON file beside a network's, `kd-0.json` beside `kd-0.keras`, atomically.

    Args:
        file: the network's.
        facts: of it.
        sha256: of the file, hex, by which `is_whole` knows it; empty leaves it out.
    """
    with new_file(beside(file), "w") as written:
        written.write(_text(facts, {"sha256": sha256} if sha256 else {}) + "\n")


def is_whole(file: Path) -> bool:
    """Whether a network's file is the one that was written: True too where what stands beside it does not tell.

    Args:
        file: False where it is missing.
    """
    if not file.is_file():
        return False
    try:
        told = json.loads(beside(file).read_text(encoding="utf-8"))["sha256"]
    except (OSError, *DAMAGE):  # of an earlier version, or damaged itself
        return True
    with file.open("rb") as content:
        return bool(hashlib.file_digest(content, "sha256").hexdigest() == told)


def beside(file: Path) -> Path:
    """Where a network's facts stand once more."""
    return file.with_name(file.name.removesuffix(file.suffix) + ".json")


def read_saved_facts(file: Path) -> SavedFacts | None:
    """What a network's file says of itself, else what stands beside it; None where neither does.

    Raises:
        UsageError: when the file is missing, damaged or of another kind, or what it says is no such facts.
    """
    try:
        read = {".keras": _read_keras, ".safetensors": _read_safetensors}.get(file.suffix, lambda other: None)
        text = read(file)
        if text is None and beside(file).is_file():
            text = beside(file).read_text(encoding="utf-8")
        return None if text is None else _facts(json.loads(text))
    except (OSError, *DAMAGE) as error:
        raise UsageError(f"{file} can't be read ({one_line(error)}).") from error


def facts_beside(file: Path) -> SavedFacts:
    """What the JSON file beside a network's says of it.

    Raises:
        UsageError: when there is none, or it holds no such facts.
    """
    other = beside(file)
    try:
        return _facts(json.loads(other.read_text(encoding="utf-8")))
    except (OSError, *DAMAGE) as error:
        raise UsageError(f"{other}, which says what {file.name} is, can't be read ({one_line(error)}).") from error


def _text(facts: SavedFacts, more: Mapping[str, str] = {}) -> str:
    # ASCII: a class may be named by bytes of a folder's name that no UTF-8 file can hold.
    told = {key: value for key, value in asdict(facts).items() if key != "network" or value}
    return json.dumps({"format": 1, **told, **more}, indent=2, allow_nan=False)


def _read_keras(file: Path) -> str | None:
    with zipfile.ZipFile(file) as archive:
        if MEMBER not in archive.namelist():
            return None
        if archive.getinfo(MEMBER).file_size > _LARGEST:
            raise ValueError(f"its {MEMBER} is too large")
        return archive.read(MEMBER).decode()


def _read_safetensors(file: Path) -> str | None:
    with file.open("rb") as content:
        size = int.from_bytes(content.read(8), "little")
        if size > _LARGEST:
            raise ValueError("its header is too large")
        header = json.loads(content.read(size))
    text: str | None = header.get("__metadata__", {}).get(KEY)
    return text


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    """The header of a `.safetensors` file, and where it ends."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), end


def _facts(value: Any) -> SavedFacts:
    """Facts of their JSON form; keys of a later version are left aside."""
    texts, sizes = ("resize", "component", "recipe_sha256", "network"), ("image_size", "store_size", "max_pixels")
    value = _EARLIER | value
    facts = SavedFacts(**{key: value[key] for key in SavedFacts.__dataclass_fields__})
    whole = all(type(getattr(facts, key)) is str for key in texts) and facts.resize in ("squash", "crop")
    whole &= all(type(getattr(facts, key)) is int and getattr(facts, key) > 0 for key in sizes)
    # Of more pixels one image would fill the memory.
    whole = whole and max(facts.image_size, facts.store_size) <= _LARGEST_SIDE
    whole &= type(facts.classes) is list and all(type(name) is str for name in facts.classes)
    whole &= type(facts.background) is list and len(facts.background) == 3
    whole &= all(type(part) is int and 0 <= part <= 255 for part in facts.background)
    if not whole or type(facts.options) is not dict:
        raise ValueError("what it says of itself is not as kdrecipes writes it")
    return facts
