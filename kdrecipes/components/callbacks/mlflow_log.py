"""`mlflow`: one MLflow run for each run, with its arms' curves, the final figures, and the report as artefacts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdrecipes.components.callbacks.following import Figures, Json, Start, follow
from kdrecipes.components.callbacks.logged import differences, final_figures, markdown, parameters, table
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options

_AT_ONCE = 100  # parameters that MLflow takes in one call
_LONGEST = 500  # characters of a parameter's value that every version of MLflow takes
# A server that does not answer holds an epoch up; MLflow would try for minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": 2, "MLFLOW_HTTP_REQUEST_TIMEOUT": 20}


class MlflowLog:
    """A run of MLflow, spoken to through a client of its own: what a script logs besides is not touched.

    Args:
        start: what every log is opened with.
        tracking_uri: of the server or store; None: what MLflow takes by its environment.
        experiment: by name; it is made where it is missing.
    """

    def __init__(self, start: Start, tracking_uri: str | None, experiment: str):
        from mlflow import MlflowClient

        _be_brief()
        self.client = MlflowClient(tracking_uri)
        if start.id:
            self.id = start.id
            self.client.update_run(self.id, status="RUNNING")
            return
        found = self.client.get_experiment_by_name(experiment)
        where = found.experiment_id if found else self.client.create_experiment(experiment)
        self.id = self.client.create_run(where, run_name=start.folder.resolve().name).info.run_id
        self._log_parameters(parameters(start.recipe))

    def _log_parameters(self, found: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        params = [Param(key, value[:_LONGEST]) for key, value in found.items()]
        for first in range(0, len(params), _AT_ONCE):
            self.client.log_batch(self.id, params=params[first : first + _AT_ONCE])

    def epochs(self, label: str, rows: list[tuple[int, Figures]]) -> None:
        """Metrics such as `kd-0/val_accuracy`, whose step is the epoch."""
        for epoch, figures in rows:
            self._log_metrics({f"{label}/{key}": value for key, value in figures.items()}, epoch)

    def _log_metrics(self, figures: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self.client.log_batch(self.id, metrics=[Metric(key, value, now, step) for key, value in figures.items()])

    def end(self, report: Json | None, folder: Path) -> None:
        """The final figures as metrics, the table as `table.md`, both forms of the report; the run is then ended."""
        if report is not None:
            for label, figures in final_figures(report).items():
                self._log_metrics({f"{label}/{key}": value for key, value in figures.items()}, 0)
            self._log_metrics(differences(report), 0)
            self.client.log_text(self.id, markdown(*table(report)), "table.md")
            for name in ("report.json", "report.html"):
                self.client.log_artifact(self.id, str(folder / name))
        self.client.set_terminated(self.id, "FAILED" if report is None else "FINISHED")


def _be_brief() -> None:
    """Wait for a server as long as the user's environment says, or else not for minutes."""
    import mlflow.environment_variables as variables

    for name, value in _PATIENCE.items():
        variable = getattr(variables, name, None)
        if variable is not None and not variable.is_set():
            variable.set(value)


def _destination(tracking_uri: str | None, experiment: str) -> str:
    import mlflow

    return f"{tracking_uri or mlflow.get_tracking_uri()} {experiment}"


def build(tracking_uri: str | None = None, experiment: str = "kdrecipes") -> Any:
    """The callback."""
    return follow(
        "mlflow",
        lambda: _destination(tracking_uri, experiment),
        lambda start: MlflowLog(start, tracking_uri, experiment),
    )


build.tracker = True  # type: ignore[attr-defined]
build.extra, build.modules = "mlflow", ("mlflow",)  # type: ignore[attr-defined]

COMPONENT = Component(
    kind="callback",
    name="mlflow",
    build=build,
    summary="one MLflow run: all arms' curves, the recipe, the final figures, the report as artefacts",
    options=options(
        "callback",
        build,
        tracking_uri={
            # A recipe is logged, reported and shared.
            "pattern": r"^(?![^/]*//[^/]+@).",
            "x-rule": "must not hold a user or a password; MLFLOW_TRACKING_URI of the environment may",
            "examples": ["http://127.0.0.1:5000"],
            "description": "The server or store, as MLflow writes it. Default: what MLflow's own environment says.",
        },
        experiment={"minLength": 1, "description": "The experiment by name; made where it is missing."},
    ),
)
