"""What TFDS prepared as TFRecord, copied once into ArrayRecord files, which can be read by random access."""

from __future__ import annotations

import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kdrecipes.components.datasets.source import file_facts
from kdrecipes.disk.files import disk_errors
from kdrecipes.disk.home import kept_at
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.hashing import digest


def with_random_access(folder: Path) -> Path:
    """`folder`, or where it was prepared in TFRecord files, the folder of a copy in ArrayRecord files, made once.

    Raises:
        EnvironmentProblem: the files are of another format, or the disk does not take the copy.
        RunError: a file is cut off, damaged, or holds another number of examples than its description says.
    """
    import tensorflow_datasets as tfds

    info = tfds.builder_from_directory(folder).info
    formats = {form.value for form in info.available_file_formats()}
    if formats & {"array_record", "parquet"}:
        return folder
    if "tfrecord" not in formats:
        raise EnvironmentProblem(
            f"{folder} is prepared as {', '.join(sorted(formats))}, which cannot be read here; "
            "with another `data_dir` it is prepared again, as array_record"
        )
    shards = {name: [Path(file) for file in info.splits[name].filepaths] for name in info.splits}
    facts = file_facts([file for files in shards.values() for file in files], folder)
    key = digest(str(folder.resolve()), facts)[:16]
    target = kept_at("tfds", key) / str(info.full_name)
    if target.is_dir():
        return target
    with disk_errors(target), ExitStack() as stack:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = stack.enter_context(tempfile.TemporaryDirectory(dir=target.parent, prefix=".converting-"))
        copy = Path(temporary, "copy")
        _copy(folder, copy, info.splits, shards)
        try:
            copy.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise
    return target


def _copy(folder: Path, copy: Path, splits: Any, shards: dict[str, list[Path]]) -> None:
    """Fill the new folder `copy` with the builder's descriptions and the records of its `shards`, a split's files."""
    import tensorflow_datasets as tfds

    copy.mkdir()
    for file in folder.iterdir():
        if file.suffix in (".json", ".txt"):
            shutil.copyfile(file, copy / file.name)
    description = json.loads((copy / "dataset_info.json").read_text())
    (copy / "dataset_info.json").write_text(json.dumps(description | {"fileFormat": "array_record"}))
    copied = tfds.builder_from_directory(copy).info.splits
    for name, files in shards.items():
        for old, new, count in zip(files, copied[name].filepaths, splits[name].shard_lengths, strict=True):
            _convert(old, Path(new), count)


def _convert(tfrecord: Path, array_record: Path, count: int) -> None:
    """Copy the `count` records of a TFRecord file into a new ArrayRecord file."""
    from array_record.python import array_record_module

    writer = array_record_module.ArrayRecordWriter(str(array_record), "group_size:1")
    received = 0
    for record in _records(tfrecord):
        writer.write(record)
        received += 1
    writer.close()
    if received != count:
        raise RunError(f"{tfrecord} holds {received} examples; its dataset_info.json says {count}")


def _records(file: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: length (8 bytes), its checksum (4), the record, its checksum (4)."""
    with open(file, "rb") as stream:
        while header := stream.read(12):
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else -1
            left = os.fstat(stream.fileno()).st_size - stream.tell()
            if not 0 <= length <= left - 4:  # before reading: a damaged length may say anything
                raise RunError(f"{file} is truncated or damaged: {left} bytes left where {length + 4} are announced")
            record = stream.read(length)
            stream.read(4)
            yield record
