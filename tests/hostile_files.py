"""Keras files that are made to run code, to read other files or to fill the memory."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import h5py


def with_parts(path: Path, changed: dict[str, bytes]) -> Path:
    """The same archive with other parts."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts |= changed
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def layer(module: str, name: str, /, **config: object) -> bytes:
    """The config.json of a model with one layer that is none of Keras' usual ones."""
    one = {"module": module, "class_name": name, "config": config, "registered_name": None}
    inner = {"name": "m", "layers": [one], "build_input_shape": [None, 4]}
    return json.dumps({"module": "keras", "class_name": "Sequential", "config": inner}).encode()


CONFIGS = {
    "a function of the system (CVE-2025-1550)": layer("os", "system", command="true"),
    "a function of the system within a Lambda (CVE-2025-1550)": layer(
        "keras.layers", "Lambda", function={"module": "os", "class_name": "function", "config": "system"}
    ),
    "a Lambda's bytecode (CVE-2024-3660)": layer(
        "keras.layers", "Lambda", function={"class_name": "__lambda__", "config": {"code": "4wAA", "defaults": None}}
    ),
    "the switch of safe mode (CVE-2025-9906)": layer("keras.config", "enable_unsafe_deserialization"),
    "Keras' own download (CVE-2025-8747)": layer(
        "keras.utils", "get_file", fname="x", origin="http://127.0.0.1:9/x", cache_dir="/nowhere"
    ),
    "a torch module's pickle (CVE-2025-49655)": layer(
        "keras.layers", "TorchModuleWrapper", module={"class_name": "x", "config": "gASVAA=="}
    ),
    "a TensorFlow program (CVE-2026-1462)": layer("keras.layers", "TFSMLayer", filepath="/nowhere"),
    "another file as a vocabulary (CVE-2025-12058)": layer("keras.layers", "StringLookup", vocabulary="/etc/passwd"),
    "no JSON": b"\x80\x04.",
    "JSON of another kind": b"[1]",
}


def weights_of(saved: Path, harm) -> bytes:
    """A Keras file's weights after `harm` has put another dataset in the place of its kernel."""
    with zipfile.ZipFile(saved) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r+") as opened:
        found = []
        opened.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        kernel = max(found, key=lambda name: opened[name].size)
        del opened[kernel]
        harm(opened, kernel)
    return content.getvalue()


def external_data(opened, name):
    """Numbers that stand in another file: CVE-2026-1669."""
    opened.create_dataset(name, (48, 2), "f4", external=[("/etc/passwd", 0, 384)])


def external_link(opened, name):
    opened[name] = h5py.ExternalLink("/etc/other.h5", "/x")


def shape_bomb(opened, name):
    """A shape of terabytes of which nothing is stored: CVE-2026-0897."""
    opened.create_dataset(name, (2**20, 2**20), "f4", chunks=(1024, 1024), compression="gzip")


HARMS = (external_data, external_link, shape_bomb)
