"""`kdrecipes export`: a student as a file that another runtime reads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kdrecipes.cli.options import JsonOption, PluginOption, collect_as_usual
from kdrecipes.cli.result import print_json, say, tell


def export(
    run: Annotated[Path, typer.Argument(help="The folder of a run, such as runs/digits.")],
    format: Annotated[
        str, typer.Option(help="keras, litert, onnx, openvino, safetensors, torch, or a plugin's.")
    ] = "onnx",
    arm: Annotated[str, typer.Option(help="kd or baseline.")] = "kd",
    seed: Annotated[int | None, typer.Option(help="Of the student. Default: the first one.")] = None,
    input: Annotated[str | None, typer.Option(help="Pixels that the file takes, 0–255: float32 or uint8.")] = None,
    quantize: Annotated[str | None, typer.Option(help="int8: weights and activations of 8 bits (onnx).")] = None,
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Another option of the exporter (TOML); repeatable.")
    ] = [],  # noqa: B006
    images: Annotated[
        int | None, typer.Option(min=256, help="Test images to compare on. Default: all.", show_default=False)
    ] = None,
    plugin: PluginOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Write a student in another format, and compare the file with the student on test images.

    The file lies in RUN/export, such as kd-0.onnx; export.json beside it holds what was measured. A file whose logits
    are not the student's is not kept. A file of 8 bits is another network: its own test accuracy is told.

    Example:  kdrecipes export runs/digits --format onnx --input uint8
    """
    from kdrecipes.extras import need_run

    need_run("`kdrecipes export`")
    collect_as_usual()
    from kdrecipes.recipe.overrides import override
    from kdrecipes.runs.export import export as export_student

    options = {key: value for key, value in (("input", input), ("quantize", quantize)) if value is not None}
    override(options, set_)
    found = export_student(
        run,
        format,
        arm=arm,
        seed=seed,
        options=options,
        images=images,
        plugins=tuple(plugin),
        note=tell,
    )
    if as_json:
        print_json(asdict(found))
        return
    from kdrecipes.wording import readable_bytes

    say(f"{run / 'export' / found.file}  {readable_bytes(found.bytes)}")
    say(
        f"{found.images:,} test images: accuracy {100 * found.test_accuracy:.2f} %, the student's "
        f"{100 * found.student_accuracy:.2f} %; the same class for {100 * found.top1_agreement:.2f} %; logits differ "
        f"by {found.largest_difference:.1e} at most, the largest is {found.largest_logit:.1f}"
    )
