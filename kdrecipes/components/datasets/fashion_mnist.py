"""FashionMNIST from its four IDX files, where they are found, else through TFDS. `python -m` this module obtains it."""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.components.datasets import tfds
from kdrecipes.components.datasets.source import SPLIT_OPTION, ArraySource, file_facts, missing_split
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options
from kdrecipes.disk.files import disk_errors
from kdrecipes.disk.home import home, kept_at
from kdrecipes.errors import EnvironmentProblem, KDRecipesError, RunError
from kdrecipes.hashing import digest

if TYPE_CHECKING:
    import numpy as np

CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
ROOT = Path("/")
PREFIXES = {"train": "train", "test": "t10k"}
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = "usr/share/datasets/fashion-mnist"  # where that package puts the files, below /


def places() -> list[Path]:
    """Where the IDX files are looked for, in this order.

    Raises:
        EnvironmentProblem: as `kept_at`.
    """
    own = kept_at("fashion_mnist")
    return [own, own / DEBIAN_FOLDER, ROOT / DEBIAN_FOLDER]


def find(folder: Path) -> dict[str, tuple[Path, Path]]:
    """{split: (images file, labels file)} for the splits whose two files are in `folder`, plain or compressed."""
    found = {}
    for split, prefix in PREFIXES.items():
        pair = []
        for kind in ("images-idx3", "labels-idx1"):
            # both spellings are in use: the archive's own, and the one that `gunzip` makes in some copies
            names = [f"{prefix}-{kind}-ubyte", f"{prefix}-{kind.replace('-idx', '.idx')}-ubyte"]
            files = [folder / (name + end) for name in names for end in ("", ".gz")]
            pair += [file for file in files if file.is_file()][:1]
        if len(pair) == 2:
            found[split] = (pair[0], pair[1])
    return found


def read_idx(file: Path, dimensions: int) -> np.ndarray:
    """An IDX file of unsigned bytes, plain or compressed by gzip, as a uint8 array of `dimensions` dimensions."""
    import numpy as np

    size = 4 + 4 * dimensions
    magic = 0x800 + dimensions  # unsigned bytes, so many dimensions
    opener: Any = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rb") as stream:
        header = _read(stream, size)
        if len(header) < size:
            raise RunError(f"{file} is truncated: expected a header of {size} bytes, received {len(header)}")
        received, *shape = struct.unpack(f">{dimensions + 1}I", header)
        if received != magic:
            raise RunError(f"{file} is not such an IDX file: expected magic number {magic}, received {received}")
        expected = size + prod(shape)
        # one byte more than expected, and no more: what the header says bounds what is unpacked
        data = _read(stream, prod(shape) + 1)
    if len(data) < prod(shape):
        raise RunError(f"{file} is truncated: expected {expected} bytes, received {size + len(data)}")
    if len(data) > prod(shape):
        raise RunError(f"{file} is longer than its header says: expected {expected} bytes")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read(stream: Any, count: int) -> bytes:
    """`count` bytes, or what can be read of a file that ends early or whose compressed data is damaged."""
    parts: list[bytes] = []
    left = count
    try:
        while left and (part := stream.read(min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        pass  # the caller compares lengths and names the file
    return b"".join(parts)


def read_split(split: str, images_file: Path, labels_file: Path) -> ArraySource:
    """The examples of one split: images uint8 (examples, 28, 28, 1), labels int64 (examples,)."""
    import numpy as np

    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
    if images.shape[1:] != (28, 28):
        height, width = images.shape[1:]
        raise RunError(f"{images_file} holds images of {height}×{width} pixels; FashionMNIST's are 28×28")
    if len(images) != len(labels):
        raise RunError(f"{images_file} holds {len(images)} images, {labels_file} {len(labels)} labels")
    if len(labels) and labels.max() >= len(CLASSES):
        raise RunError(f"{labels_file} holds the label {labels.max()}; FashionMNIST's are 0 to {len(CLASSES) - 1}")
    files = (images_file, labels_file)
    facts = digest("fashion_mnist", split, file_facts(files, images_file.parent))
    return ArraySource(images[..., None], labels.astype(np.int64), list(CLASSES), facts, str(images_file))


def ways() -> str:
    """How FashionMNIST can be got, one way a line."""
    target = home() / "fashion_mnist"
    return (
        "FashionMNIST can be had in one of these ways:\n"
        "  - the option `path` of [dataset]: a folder with the four IDX files "
        "(train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz], t10k-…)\n"
        f"  - on Debian and Ubuntu, without root: apt-get download {DEBIAN_PACKAGE} && "
        f"dpkg-deb -x {DEBIAN_PACKAGE}_*.deb '{target}'\n"
        "  - with a network: python -m kdrecipes.components.datasets.fashion_mnist, which downloads it through "
        "TensorFlow Datasets"
    )


def build(split: str = "train", path: str | None = None) -> Any:
    """The source of FashionMNIST's `train` (60000 examples) or `test` (10000)."""
    if split not in PREFIXES:
        raise missing_split(split, PREFIXES)
    if path is not None:
        files = find(Path(path).expanduser())
        if split not in files:
            name = PREFIXES[split]
            raise EnvironmentProblem(
                f"{path} does not hold FashionMNIST's {split} split: "
                f"expected {name}-images-idx3-ubyte and {name}-labels-idx1-ubyte, plain or .gz"
            ).at("dataset.path")
        return read_split(split, *files[split])
    for place in places():
        if split in (files := find(place)):
            return read_split(split, *files[split])
    try:
        return tfds.build(split, builder="fashion_mnist")
    except KDRecipesError as error:
        raise EnvironmentProblem(f"{error}\n{ways()}") from None


def obtain(limit: float = 300) -> str:
    """Make sure that FashionMNIST is here, by TFDS or the Debian package. Returns where it is.

    Args:
        limit: seconds that each way may take.
    """
    for place in places():
        if len(find(place)) == len(PREFIXES):
            return f"FashionMNIST: {place}"
    try:
        return f"FashionMNIST: {tfds.prepare('fashion_mnist', limit=limit)}"
    except KDRecipesError as error:
        problem = str(error)
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        try:
            return f"FashionMNIST: {_unpack_debian(limit)}"
        except subprocess.TimeoutExpired:
            problem += f"\nthe Debian package: not here after {limit:.0f} seconds"
        except subprocess.CalledProcessError as error:
            problem += f"\nthe Debian package: {(error.stderr.strip().splitlines() or [str(error)])[-1]}"
        except OSError as error:
            problem += f"\nthe Debian package: {error}"
    raise EnvironmentProblem(f"{problem}\n{ways()}")


def _unpack_debian(limit: float) -> Path:
    """Download the Debian package and unpack it under `home()`, whole or not at all. Returns the files' folder."""
    target = kept_at("fashion_mnist")
    # a sibling, so that the last step is a rename within one file system
    with disk_errors(target), ExitStack() as stack:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = stack.enter_context(tempfile.TemporaryDirectory(dir=target.parent, prefix=".fashion_mnist-"))
        download, unpacked = Path(temporary, "download"), Path(temporary, "unpacked")
        download.mkdir()
        options: dict[str, Any] = {"check": True, "capture_output": True, "text": True, "timeout": limit}
        subprocess.run(["apt-get", "download", DEBIAN_PACKAGE], cwd=download, **options)
        (package,) = download.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", package, unpacked], **options)
        if len(find(unpacked / DEBIAN_FOLDER)) != len(PREFIXES):
            raise OSError(f"{package.name} does not hold the IDX files in {DEBIAN_FOLDER}")
        if len(find(target / DEBIAN_FOLDER)) != len(PREFIXES):  # else another process was faster
            unpacked.rename(target)  # replaces an empty folder; one that holds anything is left alone, with an error
    return target / DEBIAN_FOLDER


build.count_classes = lambda **_: len(CLASSES)  # type: ignore[attr-defined]

COMPONENT = Component(
    kind="dataset",
    name="fashion_mnist",
    build=build,
    options=options(
        "dataset",
        build,
        split=SPLIT_OPTION,
        path={
            "minLength": 1,
            "format": "path",
            "examples": ["~/fashion-mnist"],
            "description": "Folder of the four IDX files; absent: the known places, then TensorFlow Datasets",
        },
    ),
    summary="70000 pieces of clothing, 28×28 grey pixels, 10 classes",
)

if __name__ == "__main__":
    try:
        print(obtain())
    except KDRecipesError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
