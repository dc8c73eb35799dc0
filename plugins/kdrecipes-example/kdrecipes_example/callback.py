"""`example_log`: a line for every epoch of an arm."""

from pathlib import Path

from kdrecipes import Component


def build(folder: str, arm: str, seed: int, digits: int = 4):
    """A callback that writes `<folder>/<arm>-<seed>.txt`."""
    import keras

    path = Path(folder) / f"{arm}-{seed}.txt"

    class Log(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            figures = "  ".join(f"{name} {value:.{digits}f}" for name, value in (logs or {}).items())
            with path.open("a", encoding="utf-8") as file:
                file.write(f"epoch {epoch + 1}  {figures}\n")

    return Log()


COMPONENT = Component(
    kind="callback",
    name="example_log",
    build=build,
    summary="writes each arm's epochs to <arm>-<seed>.txt in the run folder",
    options={
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "folder": {"type": "string"},  # these three the run passes
            "arm": {"type": "string"},
            "seed": {"type": "integer"},
            "digits": {"type": "integer", "minimum": 0, "default": 4, "description": "Digits after the point."},
        },
    },
)
