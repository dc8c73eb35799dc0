"""What each network costs where it runs, as a run measured it: what is written down, and a table of it in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))
Keys = tuple[str, ...]
LONG: dict[Keys, str] = {  # where a figure of a network stands in report.json → its heading on the page
    ("size_bytes",): "Size on disk",
    ("multiply_adds",): "Multiply-adds",
    ("latency_ms", "1"): "Keras, 1 image, ms",
    ("latency_ms", "32"): "Keras, 32 images, ms",
    ("latency_ms_onnx", "1"): "ONNX Runtime, 1 image, ms",
    ("latency_ms_onnx", "32"): "ONNX Runtime, 32 images, ms",
    ("peak_memory_bytes",): "Peak memory",
}
SHORT: dict[Keys, str] = {  # the same in a terminal
    ("size_bytes",): "on disk",
    ("multiply_adds",): "mult-adds",
    ("latency_ms", "1"): "Keras: 1",
    ("latency_ms", "32"): "32 images",
    ("latency_ms_onnx", "1"): "ONNX: 1",
    ("latency_ms_onnx", "32"): "32 images",
    ("peak_memory_bytes",): "memory",
}


@dataclass(frozen=True)
class MeasureFacts:
    """What a run measured of its networks at its end.

    Attributes:
        networks: by a network's key in predictions.npz: `size_bytes`, `multiply_adds`, `latency_ms`, `latency_ms_onnx`
            and `peak_memory_bytes`, as report.json has them; what could not be measured is absent.
        device: "cpu", or the GPU's name.
        threads: of torch and of ONNX Runtime alike.
        runtimes: versions, by distribution.
        left_out: a sentence for each thing that could not be measured.
    """

    networks: dict[str, Any]
    device: str
    threads: int
    runtimes: dict[str, Any]
    left_out: list[str] = field(default_factory=list)


def measures_of(facts: MeasureFacts | None, key: str) -> dict[str, Any]:
    """What was measured of one network, as report.json has it; nothing where nothing was."""
    return dict(facts.networks.get(key, {})) if facts else {}


def how_measured(facts: MeasureFacts | None) -> dict[str, Any]:
    """How it was measured, as report.json has it under `measures`."""
    if facts is None:
        return {}
    told = {"device": facts.device, "threads": facts.threads, "runtimes": facts.runtimes, "left_out": facts.left_out}
    return {"measures": told}


def cost_keys(network: Mapping[str, Any]) -> list[str]:
    """The keys of a network of report.json that say what it costs to run."""
    return [key for key in dict.fromkeys(keys[0] for keys in LONG) if network.get(key) is not None]


def cost_headings(report: Mapping[str, Any], words: Mapping[Keys, str]) -> list[str]:
    """The headings of `cost_cells`, for what this report has, in the words of `LONG` or `SHORT`."""
    return [words[keys] for keys in _columns(report)]


def cost_cells(report: Mapping[str, Any], network: Mapping[str, Any], p95: bool = True) -> list[str]:
    """What a network costs, a text for each heading, of times with their 95th percentile; "–" where unmeasured."""
    return [_cell(network, keys, p95) for keys in _columns(report)]


def how_timed(report: Mapping[str, Any]) -> str:
    """Where and how latencies were measured, in a line."""
    how = report["measures"]
    threads = "1 thread" if how["threads"] == 1 else f"{how['threads']} threads"
    text = f"Times: median of warm calls in float32, {how['device']}, {threads}."
    return " ".join([text, *how["left_out"]])


def how_words(report: Mapping[str, Any]) -> str:
    """How the costs were measured, in a sentence or two; empty where they were not."""
    if "measures" not in report:
        return ""
    how = report["measures"]
    threads = "1 thread" if how["threads"] == 1 else f"{how['threads']} threads"
    by = ", ".join(f"{name} {version}" for name, version in how["runtimes"].items())
    text = (
        f"Measured at the end of the run, in one process, the networks in turn, on {how['device']} with {threads} "
        f"({by}). "
        "Times are of one call, warm, in float32: the median, and in brackets what 95 of 100 calls stay below. "
        "Multiply-adds are of one image. Peak memory is of the weights and of one call on 32 images."
    )
    return " ".join([text, *how["left_out"]])


def _columns(report: Mapping[str, Any]) -> list[Keys]:
    """Those of the figures that a network of the report has."""
    networks = [*report.get("teachers", []), *report["arms"]]
    return [keys for keys in LONG if any(_found(one, keys) is not None for one in networks)]


def _found(network: Mapping[str, Any], keys: Keys) -> Any:
    value: Any = network
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _cell(network: Mapping[str, Any], keys: Keys, p95: bool) -> str:
    value = _found(network, keys)
    if value is None:
        return "–"
    if keys[0].endswith("_bytes"):
        return size_text(value)
    if isinstance(value, dict):
        median = significant(value["median"])
        return f"{median} ({significant(value['p95'])})" if p95 else f"{median} ms"
    return thousands(value)


def size_text(size: int) -> str:
    """Bytes with three figures: `73.4 kB`, `20.4 MB`."""
    return next(f"{significant(size / unit)} {name}" for unit, name in _UNITS if size >= unit or unit == 1)


def significant(value: float) -> str:
    """Three figures, without an exponent: `0.412`, `41.3`, `1,234`."""
    for bound, decimals in ((1, 3), (10, 2), (100, 1)):
        if value < bound:
            return f"{value:.{decimals}f}"
    return f"{value:,.0f}"


def thousands(count: int) -> str:
    """A count in thousands, millions or billions: `2.17 M`, `411 k`."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{significant(count / unit)} {name}"
    return str(count)
