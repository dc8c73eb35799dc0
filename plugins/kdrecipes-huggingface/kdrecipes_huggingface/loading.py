"""From the name of a data set, or a folder, to its splits as `datasets` gives them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes import EnvironmentProblem, RunError
from kdrecipes_huggingface.failures import ON_THE_HUB, out_of_reach, telling

if TYPE_CHECKING:
    import datasets

INSTALL = "pip install 'datasets>=5.0'"


@dataclass(frozen=True)
class Loaded:
    """A data set, ready to be read.

    Attributes:
        splits: by name, memory-mapped.
        facts: JSON-able, by split: what changes when its data do.
        root: the folder that the recipe names; None for a data set of the Hub.
    """

    splits: Mapping[str, datasets.Dataset]
    facts: Mapping[str, Any]
    root: Path | None

    @property
    def features(self) -> dict[str, Any]:
        """Type of each column of any split."""
        return {name: feature for rows in self.splits.values() for name, feature in rows.features.items()}


def load(data: str, config: str | None = None, revision: str | None = None) -> Loaded:
    """The splits of a data set; downloaded and turned into Arrow files first where they are not yet.

    No code of a data set is run: `datasets` has no way to since its version 4. A data set of the Hub is asked for once
    in a process, so that all splits are of one commit.

    Args:
        data: owner/name on the Hub, or a folder.
        config: name of a configuration, where the data set has several.
        revision: branch, tag or commit on the Hub.

    Raises:
        EnvironmentProblem: `datasets` is missing, the folder is not there, or the Hub or the data set can't be reached.
        RunError: it can't be read, or needs code of its own; or has no such configuration.
    """
    library = _library()
    root = folder_of(data, config, revision)
    with telling(data, config, revision), _quiet(library, root):
        if root is None:
            return _of_the_hub(data, config, revision)
        if _is_saved(root):
            return _saved(library, root)
        return _prepared(library.load_dataset_builder(str(root), config), root)


def described(data: str, config: str | None = None, revision: str | None = None) -> Mapping[str, Any]:
    """Type of each column, without the images where the data set's own description names them; errors as of `load`."""
    library = _library()
    root = folder_of(data, config, revision)
    if root is None or not _is_saved(root):
        with telling(data, config, revision), _quiet(library, root):
            builder = _hub_builder(data, config, revision) if root is None else None
            features = (builder or library.load_dataset_builder(str(root), config)).info.features
        if features:
            return features
    return load(data, config, revision).features


def folder_of(data: str, config: str | None = None, revision: str | None = None) -> Path | None:
    """The folder that `data` names; None where it names a data set of the Hub.

    Raises:
        EnvironmentProblem: it is no folder.
        RunError: an option is given that a folder has no use for.
    """
    if ON_THE_HUB.fullmatch(data):
        return None
    root = Path(os.path.abspath(os.path.expanduser(data)))
    if root.is_file():
        raise EnvironmentProblem(f"{data} is a file: name the folder that it lies in").at("dataset.data")
    if not root.is_dir():
        raise EnvironmentProblem(f"{data} is not a folder; a data set of the Hub is written owner/name").at(
            "dataset.data"
        )
    if revision is not None:
        raise RunError(f"{data} is a folder, which has no revisions: leave the key out").at("dataset.revision")
    if config is not None and _is_saved(root):
        text = f"{data} was written by save_to_disk and has no configurations: leave the key out"
        raise RunError(text).at("dataset.config")
    return root


def _library() -> Any:
    """The library `datasets`, of a version that runs no code of data sets."""
    try:
        import datasets
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise
        text = f"The dataset huggingface needs datasets, which is not installed. Install it: `{INSTALL}`"
        raise EnvironmentProblem(text) from None
    if int(datasets.__version__.partition(".")[0]) < 5:
        raise EnvironmentProblem(
            "The dataset huggingface needs datasets 5.0 or newer, which runs no code of data sets, and "
            f"{datasets.__version__} is installed. Install it: `{INSTALL}`"
        )
    return datasets


def _is_saved(root: Path) -> bool:
    """Whether `save_to_disk` wrote the folder."""
    return (root / "dataset_dict.json").is_file() or (root / "state.json").is_file()


def _saved(library: Any, root: Path) -> Loaded:
    """What `save_to_disk` wrote: splits by name, or one split, which is train where nothing else is said."""
    found = library.load_from_disk(str(root))
    splits = dict(found) if isinstance(found, dict) else {str(found.split or "train"): found}
    facts = {}
    for name, rows in splits.items():
        files = [Path(file["filename"]) for file in rows.cache_files]
        facts[name] = [(file.name, (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    return Loaded(splits, facts, root)


def _prepared(builder: Any, root: Path | None) -> Loaded:
    """What the builder of a data set gives, once its files are Arrow files."""
    builder.download_and_prepare()
    splits = builder.as_dataset()
    # Configuration, version, and commit; of a folder, digests of its files' names and times.
    facts = Path(builder.cache_dir).parts[-3:]
    return Loaded(dict(splits), {name: [*facts, len(rows)] for name, rows in splits.items()}, root)


@functools.lru_cache(maxsize=4)
def _of_the_hub(data: str, config: str | None, revision: str | None) -> Loaded:
    return _prepared(_hub_builder(data, config, revision), None)


def _hub_builder(data: str, config: str | None, revision: str | None) -> Any:
    """The builder of a data set of the Hub.

    Without a network it is that of the newest copy on this machine, which is refused where it may be of another
    revision than the one that is asked for.
    """
    import datasets
    from datasets.packaged_modules.cache.cache import Cache

    # With the prefix no folder of this name is taken for the data set.
    builder = datasets.load_dataset_builder(f"hf://datasets/{data}", config, revision=revision)
    if isinstance(builder, Cache) and revision not in (None, "main", builder.hash):
        raise out_of_reach(data, revision, f"; the copy here is of the commit {builder.hash}")
    return builder


@contextmanager
def _quiet(library: Any, root: Path | None) -> Iterator[None]:
    """Neither bars nor a log while a folder is read, which takes seconds; a download shows its own."""
    if root is None:
        yield
        return
    level, bars = library.logging.get_verbosity(), not library.are_progress_bars_disabled()
    library.logging.set_verbosity(library.logging.CRITICAL)
    library.disable_progress_bars()
    try:
        yield
    finally:
        library.logging.set_verbosity(level)
        if bars:
            library.enable_progress_bars()
