"""How a TensorFlow Datasets (TFDS) builder becomes files that can be read by random access, without TensorFlow here.

A builder that is not prepared yet is prepared in a child process. TFDS itself needs TensorFlow there, for file access
and for encoding images; where TensorFlow is not installed, the standard library and Pillow stand in for these. What
was prepared as TFRecord is copied by `tfrecord`.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from kdrecipes.components.datasets.tfrecord import with_random_access
from kdrecipes.disk.files import locked
from kdrecipes.disk.home import kept_at
from kdrecipes.errors import EnvironmentProblem, KDRecipesError, MissingPart, RunError
from kdrecipes.extras import telling_what_is_missing
from kdrecipes.hashing import digest

NO_TENSORFLOW = "No module named 'tensorflow'"


def prepare(builder: str, version: str | None = None, data_dir: str | None = None, limit: float | None = None) -> Path:
    """The folder of a prepared builder that can be read by random access; prepares it if need be.

    Args:
        builder: name, or name/config.
        version: such as "3.0.1"; absent: the newest one that is prepared, else TFDS's own.
        data_dir: where TFDS keeps data sets; absent: `$TFDS_DATA_DIR`, else TFDS's default.
        limit: seconds that preparing may take.
    """
    name = f"{builder}:{version}" if version else builder
    options = {}
    if folder := data_dir or os.environ.get("TFDS_DATA_DIR"):  # TFDS reads the variable only when it is imported
        options["data_dir"] = os.path.abspath(os.path.expanduser(folder))
    try:
        with telling_what_is_missing("The dataset tfds"):
            from tensorflow_datasets.core import read_only_builder, registered
    except MissingPart:
        raise
    except ImportError as error:
        raise EnvironmentProblem(f"TensorFlow Datasets cannot be imported: {last_line(error)}") from error

    def find() -> Path | None:
        try:
            return Path(read_only_builder.builder_from_files(name, **options).data_path)
        except registered.DatasetNotFoundError:
            return None

    try:
        prepared = find()
        if prepared is None:
            with locked(kept_at("tfds", ".locks") / digest(name, options)[:16]):  # of several processes one prepares
                prepared = find() or _prepare_in_child({"name": name, "options": options}, limit)
        return with_random_access(prepared)
    except KDRecipesError:
        raise
    except Exception as error:  # whatever TFDS meets in damaged or foreign files
        raise RunError(f"TensorFlow Datasets cannot read {name!r}: {last_line(error)}") from error


def count_classes(builder: str, version: str | None, label_key: str) -> int:
    """How many classes TFDS's own description of a builder names; nothing is downloaded or prepared.

    Raises:
        RunError: when there is no such builder, or it has no classes under `label_key`.
        EnvironmentProblem: when TFDS cannot say.
    """
    name = f"{builder}:{version}" if version else builder
    count: int | None = _in_child({"name": name, "options": {}, "label_key": label_key}, 120)["classes"]
    if count is None:
        raise RunError(f"{builder} has no ClassLabel feature {label_key!r}").at("dataset.label_key")
    return count


def last_line(error: BaseException) -> str:
    """The last line of what an exception's first cause says, with its type."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    manual = [line for line in lines if line.startswith("Manual directory")]  # what to do precedes long instructions
    return f"{type(error).__name__}: {(manual or lines[-1:])[0].strip()}"


def _prepare_in_child(request: dict[str, Any], limit: float | None) -> Path:
    print(f"preparing {request['name']} with TensorFlow Datasets, once", file=sys.stderr, flush=True)
    return Path(_in_child(request, limit)["folder"])


def _in_child(request: dict[str, Any], limit: float | None) -> dict[str, Any]:
    """Prepare or describe a builder in a child process, so that TensorFlow, if installed, never enters this one."""
    name = request["name"]
    paths = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "CUDA_VISIBLE_DEVICES": "-1",  # TensorFlow would take the memory of every GPU that it sees
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    # -P: the working folder is no place for modules
    command = [sys.executable, "-P", "-c", "from kdrecipes.components.datasets.tfds_prepare import child; child()"]
    try:
        done = subprocess.run(
            command, input=json.dumps(request), env=environment, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentProblem(f"TensorFlow Datasets had not prepared {name!r} after {limit:.0f} seconds") from None
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # TFDS prints to stdout too
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        answer = {"error": f"the process ended with code {done.returncode}: {last}", "kind": "other"}
    if "error" not in answer:
        return answer
    if answer["kind"] == "unknown":
        raise RunError(f"TensorFlow Datasets has no builder {name!r}")
    if answer["kind"] == "tensorflow":
        raise EnvironmentProblem(
            f"TensorFlow Datasets needs TensorFlow to prepare {name!r}, once: pip install tensorflow. "
            "Reading the prepared data, and training, do without it"
        )
    raise EnvironmentProblem(f"TensorFlow Datasets cannot prepare {name!r}: {answer['error']}")


def child() -> None:
    """What the child process does: prepare the builder that stdin names, or, where a `label_key` is given, count its
    classes; the last line of stdout says how it went."""
    request = json.load(sys.stdin)
    answer: dict[str, Any] = {}
    has_tensorflow = importlib.util.find_spec("tensorflow") is not None
    try:
        import tensorflow_datasets as tfds

        if not has_tensorflow:
            _stand_in()
        _bound_waiting()
        tfds.disable_progress_bar()
        builder = tfds.builder(request["name"], file_format="array_record", **request["options"])
        if "label_key" in request:
            label = dict(builder.info.features).get(request["label_key"])
            answer["classes"] = getattr(label, "num_classes", None)
        else:
            builder.download_and_prepare()
            answer["folder"] = str(builder.data_path)
    except Exception as error:
        answer = {"error": last_line(error), "kind": "other"}
        if type(error).__name__ == "DatasetNotFoundError":
            answer["kind"] = "unknown"
        elif not has_tensorflow and NO_TENSORFLOW in f"{error} {answer['error']}":
            answer["kind"] = "tensorflow"
    print("\n" + json.dumps(answer), flush=True)


class _Files:
    """`tf.io.gfile` for local files: the functions that TFDS and its image builders call."""

    exists = staticmethod(os.path.exists)
    isdir = staticmethod(os.path.isdir)
    listdir = staticmethod(os.listdir)
    walk = staticmethod(os.walk)
    mkdir = staticmethod(os.mkdir)
    remove = staticmethod(os.remove)
    rmtree = staticmethod(shutil.rmtree)
    copy = staticmethod(shutil.copyfile)
    rename = staticmethod(os.replace)

    @staticmethod
    def GFile(name: Any, mode: str = "r") -> IO[Any]:
        return open(name, mode, encoding=None if "b" in mode else "utf-8")

    @staticmethod
    def glob(pattern: Any) -> list[str]:
        import glob

        return sorted(glob.glob(os.fspath(pattern)))

    @staticmethod
    def makedirs(path: Any) -> None:
        os.makedirs(path, exist_ok=True)

    def __getattr__(self, name: str) -> Any:
        raise ModuleNotFoundError(NO_TENSORFLOW)


def _stand_in() -> None:
    """Let TFDS prepare builders where TensorFlow is not installed; what is not replaced here still fails as before."""
    from types import SimpleNamespace

    import numpy as np
    from PIL import Image
    from tensorflow_datasets.core.features import image_feature
    from tensorflow_datasets.core.utils import lazy_imports_utils

    def encode(self: Any, pixels: np.ndarray) -> bytes:
        # PNG loses nothing, so Pillow's file holds what TensorFlow's would; a JPEG would not
        if self.encoding_format != "png" or pixels.dtype != np.uint8:
            raise ModuleNotFoundError(NO_TENSORFLOW)
        image_feature._validate_np_array(pixels, shape=self.shape, dtype=self.np_dtype)
        stream = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(stream, "png")
        return stream.getvalue()

    # the one object through which all of TFDS reaches TensorFlow; attributes that it lacks make it import TensorFlow
    attributes = vars(lazy_imports_utils.tensorflow)
    attributes["io"] = SimpleNamespace(gfile=_Files())
    attributes["compat"] = SimpleNamespace(as_text=os.fsdecode)
    image_feature._ImageEncoder._encode_image = encode


def _bound_waiting() -> None:
    """Make downloads fail soon where there is no network: TFDS tries 11 times and waits for each without limit."""
    import requests
    from tensorflow_datasets.core.download import downloader

    downloader.MAX_RETRIES = 2
    send = requests.Session.send

    def bounded(self: Any, request: Any, **options: Any) -> Any:
        options["timeout"] = options.get("timeout") or (10, 60)  # seconds to connect, seconds between bytes
        return send(self, request, **options)

    requests.Session.send = bounded  # type: ignore[method-assign]
