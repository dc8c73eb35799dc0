"""`wandb`: one run of Weights & Biases for each run, with its arms' curves, the final table, and the report."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from kdrecipes.components.callbacks.following import Figures, Json, Start, follow
from kdrecipes.components.callbacks.logged import differences, final_figures, settings, table
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options


class WandbLog:
    """A run of W&B. Nothing of this machine but its measured load goes there: no code, no command, no git.

    Args:
        start: what every log is opened with.
        where: `project`, `entity`, `mode` and `tags` as `wandb.init` takes them.
    """

    def __init__(self, start: Start, where: dict[str, Any]):
        import wandb

        # Without a key W&B asks for one on a terminal, and would wait for an answer.
        mode = where["mode"] or wandb.setup().settings.mode
        if mode not in ("offline", "disabled") and not wandb.login(prompt=False):
            raise RuntimeError('W&B knows no API key here; `wandb login` keeps one, and mode = "offline" needs none')
        self.id = start.id or secrets.token_hex(4)
        self.run = wandb.init(
            id=self.id,
            resume="allow",
            reinit="create_new",  # what a script logs besides is not touched
            name=start.folder.resolve().name,
            dir=str(start.folder),
            config=settings(start.recipe),
            settings=wandb.Settings(
                console="off",
                disable_git=True,
                save_code=False,
                quiet=True,
                x_disable_meta=True,
                x_save_requirements=False,
                x_transaction_log_flush_interval=1.0,  # seconds, of which `kill -9` takes the figures along
            ),
            **where,
        )
        self.run.define_metric("epoch")
        self.run.define_metric("*", step_metric="epoch")

    def epochs(self, label: str, rows: list[tuple[int, Figures]]) -> None:
        """Figures such as `kd-0/val_accuracy` over `epoch`."""
        for epoch, figures in rows:
            self.run.log({"epoch": epoch, **{f"{label}/{key}": value for key, value in figures.items()}})

    def end(self, report: Json | None, folder: Path) -> None:
        """The final figures as the run's summary, the table, both forms of the report as an artefact."""
        import wandb

        if report is not None:
            for label, figures in final_figures(report).items():
                self.run.summary.update({f"{label}/{key}": value for key, value in figures.items()})
            self.run.summary.update(differences(report))
            columns, rows = table(report)
            self.run.log({"table": wandb.Table(columns=["network", *columns[1:]], data=rows)})
            artifact = wandb.Artifact(f"report-{self.id}", type="report")
            for name in ("report.json", "report.html"):
                artifact.add_file(str(folder / name))
            self.run.log_artifact(artifact)
        self.run.finish(exit_code=int(report is None))


def build(
    project: str = "kdrecipes",
    entity: str | None = None,
    mode: str | None = None,
    tags: list[str] | None = None,
) -> Any:
    """The callback."""
    where = {"project": project, "entity": entity, "mode": mode, "tags": tags}
    return follow("wandb", lambda: f"{entity} {project}", lambda start: WandbLog(start, where))


build.tracker = True  # type: ignore[attr-defined]
build.extra, build.modules = "wandb", ("wandb",)  # type: ignore[attr-defined]

COMPONENT = Component(
    kind="callback",
    name="wandb",
    build=build,
    summary="one run of Weights & Biases: all arms' curves, the recipe, the final table, the report",
    options=options(
        "callback",
        build,
        project={"minLength": 1, "description": "The project's name."},
        entity={"minLength": 1, "description": "The user or team. Default: your own at W&B."},
        mode={
            "enum": ["online", "offline", "disabled"],
            "description": "offline: files in the run folder, which `wandb sync` sends. Default: what W&B's own "
            "environment says, else online.",
        },
        tags={
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "description": "Words to find the run by.",
        },
    ),
)
