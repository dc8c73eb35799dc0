"""MODEL_CARD.md: what a student is, how it was made, what was measured and what was not, as Hugging Face reads it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.disk.saved_facts import SavedFacts, read_saved_facts
from kdrecipes.errors import UsageError
from kdrecipes.report.confusions import confusion
from kdrecipes.report.facts import Facts, Report
from kdrecipes.report.html import measured, outputs_words
from kdrecipes.report.loss_words import loss_words, network_words
from kdrecipes.report.markdown import fenced, inline, scalar, table
from kdrecipes.report.measures import LONG, cost_headings, how_words
from kdrecipes.report.table import cost_rows, taught_by_words, teachers_of
from kdrecipes.report.verdict import against_teacher, loss_and_calibration, verdict
from kdrecipes.wording import escaped

if TYPE_CHECKING:
    import jinja2

HUB_DATASETS = {  # what the Hub calls a dataset that is known to be the same one
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "mnist": "ylecun/mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "food101": "ethz/food101",
}
MOST_CLASSES = 100  # that a card names
WORST = 3  # classes of the lowest recall that it names
METRICS = {  # of the head: key of the report → the type that the Hub knows, its name
    "test_accuracy": ("accuracy", "Test accuracy"),
    "macro_f1": ("f1", "Macro F1"),
    "top5": ("top_5_accuracy", "Top-5 accuracy"),
    "test_loss": ("loss", "Test loss, nats"),
    "ece": ("ece", "Expected calibration error"),
}


@dataclass(frozen=True)
class CardFiles:
    """What lies where the card does.

    Attributes:
        student: the student's file, from there.
        imports: modules whose layers Keras needs to open the folder itself; None where it can't open it.
        exports: a table of the student's other files; empty where there are none.
    """

    student: str
    imports: Sequence[str] | None = None
    exports: str = ""


def chosen_student(facts: Facts) -> str:
    """The label of the student that a run's card is of: the distilled one of the first seed, else the first."""
    return next((label for label, arm in facts.arms.items() if arm.arm == "kd"), next(iter(facts.arms)))


def saved_in(run: Path, facts: Facts, label: str) -> SavedFacts | None:
    """What a student's file says of itself; None where it is gone or says nothing."""
    try:
        return read_saved_facts(run / facts.arms[label].student)
    except UsageError:
        return None


def model_card(report: Report, facts: Facts, label: str, saved: SavedFacts | None, files: CardFiles) -> str:
    """The card of a student, the same for the same arguments.

    Args:
        report: fits `schemas/report.schema.json`.
        facts: what it was made from.
        label: the student's, such as "kd-0".
        saved: what its file says of itself, where it is known.
        files: what lies beside the card.
    """
    role, seed = facts.arms[label].arm, facts.arms[label].seed
    arm = next(row for row in report["arms"] if (row["arm"], row["seed"]) == (role, seed))
    recipe = tomllib.loads(facts.recipe.effective)
    headings, rows = measured(report)
    dataset = str(recipe.get("dataset", {}).get("builder", facts.dataset.name))  # which of TensorFlow Datasets'
    names = facts.dataset.classes
    more = f" and {len(names) - MOST_CLASSES:,} more" if len(names) > MOST_CLASSES else ""
    text = _template().render(
        report=report,
        facts=facts,
        arm=arm,
        saved=saved,
        files=files,
        name=facts.recipe.name,
        data_name=dataset,
        hub_dataset=HUB_DATASETS.get(dataset),
        metrics=[(*METRICS[key], arm[key]) for key in METRICS if key in arm],
        what=_what(report, facts, role),
        replaced=network_words([arm]),
        network=table(["", ""], _network(facts, arm, saved)).replace("---:", "---"),
        class_names=", ".join(map(inline, names[:MOST_CLASSES])) + more,
        figures=table(["", "this student"], _figures(report, arm)),
        verdict=verdict(report),
        lines=[line for line in (against_teacher(report), loss_and_calibration(report)) if line],
        several_seeds=len({row["seed"] for row in report["arms"]}) > 1,
        networks=table(["", *map(inline, headings)], [[inline(row["who"]), *row["cells"]] for row in rows]),
        costs=_costs(report),
        how_measured=how_words(report),
        making=_making(report, facts, arm, recipe),
        toml=not facts.recipe.source.lower().endswith(".json"),
        worst=_worst(facts, label),
        told=[*report["warnings"], *(one["text"] for one in report.get("advice", []))],
    )
    return escaped(text)


def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.filters |= {"inline": inline, "fenced": fenced, "scalar": scalar}
    text = (resources.files("kdrecipes.report") / "model_card.md.jinja").read_text(encoding="utf-8")
    return environment.from_string(text)


def _what(report: Report, facts: Facts, role: str) -> str:
    classes = report["dataset"]["classes"]
    how = "trained on labels only"
    if role == "kd":
        who = " and ".join(sorted({teacher["component"] for teacher in teachers_of(report)}))
        how = f"distilled from {'a teacher' if len(report['teachers']) == 1 else 'teachers'} ({who})"
    return f"An image classifier of {classes:,} classes: a student ({facts.student}), {how} with kdrecipes."


def _network(facts: Facts, arm: Mapping[str, Any], saved: SavedFacts | None) -> list[list[str]]:
    """What the student is: words and values."""
    rows = [["network", inline(facts.student)], ["parameters", f"{arm['params']:,}"]]
    if saved:
        size, kept = saved.image_size, saved.store_size
        rows.append(["input", f"RGB pixels, 0–255: (batch, {size}, {size}, 3)"])
        step = "" if kept == size else f"{kept} × {kept} pixels, then "
        rows.append(["an image becomes that by", f"{saved.resize}: {step}{size} × {size} pixels, bilinear"])
    rows.append(["output", f"logits: (batch, {len(facts.dataset.classes)})"])
    return rows


def _figures(report: Report, arm: Mapping[str, Any]) -> list[list[str]]:
    low, high = wilson(arm["test_accuracy"], report["dataset"]["test"])
    accuracy = f"{100 * arm['test_accuracy']:.2f} % (95% interval {100 * low:.2f} to {100 * high:.2f})"
    rows = [["test accuracy, Wilson's interval over test images", accuracy]]
    rows += [["top-5 accuracy", f"{100 * arm['top5']:.2f} %"]] if "top5" in arm else []
    rows += [["macro F1", f"{100 * arm['macro_f1']:.2f} %"], ["test loss", f"{arm['test_loss']:.3f} nats"]]
    rows.append(["expected calibration error", f"{100 * arm['ece']:.2f} %"])
    if "agreement" in arm:
        rows.append([f"agreement with the {taught_by_words(report)}", f"{100 * arm['agreement']:.2f} %"])
    return rows


def _costs(report: Report) -> str:
    """What the networks cost to run, as a table; empty where that was not measured."""
    rows = [[inline(row["who"]), *map(inline, row["cells"])] for row in cost_rows(report)]
    return table(["", *map(inline, cost_headings(report, LONG))], rows) if rows else ""


def wilson(share: float, images: int) -> tuple[float, float]:
    """The 95% score interval of a share of so many images (Wilson, JASA 22(158), 1927)."""
    z = 1.959963984540054  # the normal distribution's quantile of 0.975
    middle = (share + z * z / (2 * images)) / (1 + z * z / images)
    half = z / (1 + z * z / images) * sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    return max(0.0, middle - half), min(1.0, middle + half)


def _making(report: Report, facts: Facts, arm: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the student was made: what, and in words."""
    data, train, environment = facts.dataset, recipe.get("train", {}), report["environment"]
    teachers = [
        f"{one['id']} ({'' if one['id'] == one['component'] else one['component'] + ', '}{one['params']:,} parameters, "
        f"test accuracy {100 * one['test_accuracy']:.2f} %)"
        for one in teachers_of(report)
    ]
    labelled = f", {data.labelled:,} with a label and {data.unlabelled:,} without" if data.unlabelled else ""
    unread = f"; {data.skipped:,} could not be read" if data.skipped else ""
    seeds = sorted({row["seed"] for row in report["arms"]})
    rows = [("Teacher" if len(teachers) == 1 else "Teachers", "; ".join(teachers))] if teachers else []
    rows.append(
        (
            "Data",
            f"{data.name}: {data.train:,} training images{labelled}, {data.validation:,} for validation, {data.test:,} "
            f"for test{unread}. This student used {arm['labels']:,} labels.",
        )
    )
    rows.append(("Loss", loss_words(recipe.get("loss", {})) if arm["arm"] == "kd" else "the label loss alone"))
    rows.append(("Training", f"{arm['epochs']:,} epochs, {arm['steps']:,} steps{_training(train)}"))
    rows.append(("Seed", f"{arm['seed']}; the run trained {', '.join(map(str, seeds))}"))
    if outputs := outputs_words(teachers_of(report)):
        rows.append(("Outputs", outputs))
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    device = environment.get("device_name", environment["device"])
    rows.append(("With", f"{versions}; on {device}" if versions else str(device)))
    rows.append(("Fingerprints", f"recipe {report['recipe_sha256']}, data {data.fingerprint}"))
    return rows


def _training(train: Mapping[str, Any]) -> str:
    """Batch size, optimiser and schedule, as far as they are told."""
    words = [f"batches of {train['batch_size']}"] if "batch_size" in train else []
    optimizer, schedule = train.get("optimizer", {}), train.get("schedule", {})
    if "name" in optimizer:
        rate = f", learning rate {optimizer['learning_rate']:g}" if "learning_rate" in optimizer else ""
        words.append(f"{optimizer['name']}{rate}")
    words += [f"schedule {schedule['name']}"] if "name" in schedule else []
    return "".join(f", {word}" for word in words)


def _worst(facts: Facts, label: str) -> list[str]:
    """The classes of which the student finds the smallest share; none where it finds all of all."""
    counts, classes = confusion([facts.logits[label]], facts.labels), facts.dataset.classes
    images = counts.sum(1)
    recall = {i: counts[i, i] / images[i] for i in range(len(classes)) if images[i]}
    lowest = [i for i in sorted(recall, key=lambda i: (recall[i], i)) if recall[i] < 1]
    if not lowest:
        return []
    least = recall[lowest[0]]
    alike = sum(share == least for share in recall.values())
    if alike > WORST:
        return [
            f"Of {alike:,} of the {len(recall):,} classes it finds {100 * least:.1f} % of the test images, no more."
        ]
    found = "; ".join(f"“{classes[i]}” {100 * recall[i]:.1f} % of {images[i]:,}" for i in lowest[:WORST])
    return [f"It finds the smallest share of the test images of these classes: {found}."]
