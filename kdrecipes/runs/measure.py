"""What each network costs where it runs: its file, multiply-adds, how long an image takes, how much memory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdrecipes import saved_models
from kdrecipes.backend import keras, synchronize
from kdrecipes.data.prepare import Data
from kdrecipes.disk.files import disk_errors
from kdrecipes.disk.passing import passing_folder
from kdrecipes.distributions import UNKNOWN, installed_version
from kdrecipes.errors import EnvironmentProblem, one_line
from kdrecipes.fast import restore
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.facts import write_facts
from kdrecipes.report.measures import MeasureFacts
from kdrecipes.runs.arms import arms_of
from kdrecipes.runs.build import build_model
from kdrecipes.runs.folder import RunFolder
from kdrecipes.runs.onnx_calls import onnx_calls
from kdrecipes.runs.teacher import Teacher
from kdrecipes.training.inference import Inference, at_input_size

BATCHES = (1, 32)
ROUNDS = 30  # of each network and batch, in turn
LEAST_ROUNDS = 5
SECONDS = 3.0  # after which no further round of a batch begins, once the least are done
WARM = 2  # rounds that are not counted
GREY = 128.0  # the images' only colour: no network takes longer for another one

Calls = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True)
class Network:
    """A network that is measured: from pixels (batch, size, size, 3) to logits; its file, where it has one."""

    model: keras.Model
    size: int
    file: Path | None = None


def measure_once(recipe: Recipe, data: Data, teachers: Mapping[str, Teacher], folder: RunFolder, device: str) -> None:
    """Measure the teachers and the students of the first seed, and write it down; a run that goes on keeps what it has.

    The other seeds' students are the same networks with other weights. All run as Keras alone runs them, the teachers
    too, which are used no more.
    """
    if (folder.path / "facts" / "measures.json").is_file():
        return
    networks = {}
    for name, one in teachers.items():
        file = folder.path / "teachers" / f"{name}{saved_models.ending_of(one.model)}"
        networks[name] = Network(restore(one.model), data.teacher_sizes[name], file if file.is_file() else None)
    for arm in arms_of(recipe):
        if arm.seed == recipe.compare.seeds[0]:
            student = saved_models.load(folder.student(arm.label), lambda: build_model(recipe, recipe.student, data))
            networks[arm.label] = Network(student, data.student_size, folder.student(arm.label))
    write_facts(folder.path, "measures", measure(networks, device, folder.path))


def measure(networks: Mapping[str, Network], device: str, folder: Path) -> MeasureFacts:
    """Measure networks in one process, in turn, so that whatever else the machine does meets them alike.

    Args:
        networks: by their keys in predictions.npz.
        device: where Keras computes, such as "cpu" or "cuda:0".
        folder: a folder on whose disk drafts may be written for a while.

    Returns:
        The facts. What can't be measured is left out, with a reason: a finished training is never lost to it.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in networks}
    left_out: list[str] = []

    def attempt(name: str, what: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except EnvironmentProblem:  # a full disk
            raise
        except Exception as error:  # of foreign layers, and of memory that ends
            left_out.append(f"Not measured of {name}: {what} ({one_line(error)[:200]}).")
            return None

    for name, one in networks.items():
        found[name]["size_bytes"] = attempt(name, "size on disk", partial(size_on_disk, one, folder))
        found[name]["multiply_adds"] = attempt(name, "multiply-adds", partial(multiply_adds, one))
        found[name]["peak_memory_bytes"] = attempt(name, "peak memory", partial(peak_memory, one, device))
    for batch in BATCHES:
        calls = {
            name: attempt(name, f"latency at a batch of {batch}", partial(keras_call, one, batch))
            for name, one in networks.items()
        }
        _keep(found, "latency_ms", batch, calls)
    with disk_errors(folder), passing_folder(folder) as passing:
        opened = {
            name: attempt(name, "ONNX Runtime", partial(onnx_calls, one.model, one.size, BATCHES, passing))
            for name, one in networks.items()
            if device == "cpu"  # the runtime that is installed beside a GPU computes on the CPU all the same
        }
        for batch in BATCHES:
            _keep(found, "latency_ms_onnx", batch, {name: of and of[batch] for name, of in opened.items()})
    used = ["keras", "torch", *(["onnxruntime"] if any(opened.values()) else [])]
    told = {name: {key: value for key, value in of.items() if value is not None} for name, of in found.items()}
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    versions = {name: installed_version(name) or UNKNOWN for name in used}
    return MeasureFacts(told, where, torch.get_num_threads(), versions, list(dict.fromkeys(left_out)))


def _keep(found: dict[str, dict[str, Any]], key: str, batch: int, calls: Mapping[str, Any]) -> None:
    """Time the calls that could be made and put the figures where they belong."""
    for name, times in interleaved({name: call for name, call in calls.items() if call}).items():
        found[name].setdefault(key, {})[str(batch)] = {
            "median": round(float(np.median(times)), 4),
            "p95": round(float(np.percentile(times, 95)), 4),
            "rounds": len(times),
        }


def interleaved(calls: Calls, now: Callable[[], float] = time.perf_counter) -> dict[str, list[float]]:
    """Milliseconds of each call, round by round, each in its turn; the rounds of warming up are left out."""
    for _ in range(WARM):
        for call in calls.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    began = now()
    for done in range(ROUNDS):
        if done >= LEAST_ROUNDS and now() - began > SECONDS:
            break
        for name, call in calls.items():
            start = now()
            call()
            times[name].append(1000 * (now() - start))
    return times


def size_on_disk(one: Network, folder: Path) -> int:
    """Bytes of the network's file; of one that a run does not save, of the file that it would be."""
    if one.file is not None:
        return one.file.stat().st_size
    with disk_errors(folder), passing_folder(folder) as passing:
        draft = passing / f"network{saved_models.ending_of(one.model)}"
        saved_models.save(one.model, draft)
        return draft.stat().st_size


def multiply_adds(one: Network) -> int:
    """Of one image, in convolutions and matrix products: half of the operations that torch counts."""
    from torch.utils.flop_counter import FlopCounterMode

    call = keras_call(one, 1)
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops()) // 2


def peak_memory(one: Network, device: str) -> int:
    """Bytes of the weights, and of all else that is alive at one time during a call on a batch of 32 images."""
    call = keras_call(one, BATCHES[-1])
    weights = sum(
        int(np.prod(v.shape)) * torch.empty((), dtype=v.value.dtype).element_size() for v in one.model.weights
    )
    if device.startswith("cuda"):
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return weights + int(torch.cuda.max_memory_allocated(device)) - before
    from torch.profiler import ProfilerActivity, profile

    with _silent_profiler(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as told:
        call()
    events = [event for event in told.profiler.kineto_results.events() if event.name() == "[memory]"]
    alive = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return weights + int(max(alive, default=0))


def keras_call(one: Network, batch: int) -> Callable[[], None]:
    """One call of a network on so many grey images, ended when the device has done it; it was tried once."""
    ask = Inference(one.model)
    images = at_input_size(keras.ops.full((batch, one.size, one.size, 3), GREY, dtype="float32"), one.model)

    def call() -> None:
        with torch.no_grad():
            ask(images)
        synchronize()

    call()
    return call


@contextmanager
def _silent_profiler() -> Iterator[None]:
    """Without the lines that torch's profiler writes on stderr, past Python and whatever is set there."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
