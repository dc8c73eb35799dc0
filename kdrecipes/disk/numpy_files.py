"""NumPy's files, read: nothing is unpickled, no memory is asked for that a file does not fill, damage is one error."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kdrecipes.disk.npz_sizes import DAMAGE, refuse_bombs, refuse_large
from kdrecipes.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def read_npz(file: Path | IO[bytes], only: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file by their names.

    Args:
        file: or its content, as a stream that can seek.
        only: names of those to read; those of them that the file lacks are left out. Default: all.

    Raises:
        OSError: when it is missing, or the disk fails.
        ValueError: when it is damaged, of another kind, holds objects, or says that it is larger than it is.
    """
    import numpy as np

    with _damage_told():
        refuse_bombs(file)
        if not isinstance(file, Path):
            file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            names = stored.files if only is None else [name for name in only if name in stored.files]
            arrays = {name: stored[name] for name in names}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"its part {name} is no array")
    return arrays


def read_npy(file: Path, mapped: bool = False) -> NDArray[Any]:
    """The array of an `.npy` file.

    Args:
        file: its path.
        mapped: memory-mapped and read-only instead of in memory.

    Raises:
        OSError: when it is missing, or the disk fails.
        ValueError: when it is damaged, of another kind, holds objects, or says that it is larger than it is.
    """
    import numpy as np

    with _damage_told():
        with file.open("rb") as stream:
            refuse_large(stream, file.stat().st_size, file.name)
        array: NDArray[Any] = np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
        return array


@contextmanager
def _damage_told() -> Iterator[None]:
    """Turn whatever a damaged file makes NumPy raise into a ValueError."""
    try:
        yield
    except DAMAGE as error:
        raise ValueError(one_line(error)) from error
