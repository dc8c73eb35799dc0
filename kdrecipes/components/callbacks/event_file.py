"""Event files as TensorBoard reads them, written by its own protocol buffers, without TensorFlow.

TensorBoard's and PyTorch's writers import TensorFlow wherever it is installed, for the sake of its file systems. What
is imported here does not.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class EventFile:
    """An event file in a folder, begun with the first event and added to since; each call is on disk as it returns.

    Args:
        folder: made where it is missing. TensorBoard shows a folder as one run, whatever number of files it has.
    """

    def __init__(self, folder: Path):
        self.path = folder / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"

    def scalars(self, step: int, figures: Mapping[str, float]) -> None:
        """Points of curves: by tag the value at a step."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(step, [Summary.Value(tag=tag, simple_value=value) for tag, value in figures.items()])

    def text(self, tag: str, markdown: str) -> None:
        """Markdown, which the tab Text shows."""
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData

        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()], tensor_shape=shape)
        data = SummaryMetadata.PluginData(plugin_name="text", content=TextPluginData(version=0).SerializeToString())
        self._write(0, [Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=data), tensor=tensor)])

    def hyperparameters(self, values: Mapping[str, Any]) -> None:
        """What the tab HParams shows beside the figures of this folder: texts, numbers and truth values."""
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.plugins.hparams import metadata
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

        begun = SessionStartInfo(start_time_secs=time.time())
        for name, value in values.items():
            kind = "bool_value" if isinstance(value, bool) else "number_value"
            setattr(begun.hparams[name], "string_value" if isinstance(value, str) else kind, value)
        content = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, session_start_info=begun).SerializeToString()
        data = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=content)
        value = Summary.Value(tag=metadata.SESSION_START_INFO_TAG, metadata=SummaryMetadata(plugin_data=data))
        self._write(0, [value])

    def _write(self, step: int, values: Iterable[Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        events = [Event(wall_time=time.time(), step=step, summary=Summary(value=values))]
        if not self.path.exists():
            events.insert(0, Event(wall_time=time.time(), file_version="brain.Event:2"))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())
