"""The quickstart with ten recipe seeds: other labels, another teacher, other students.

    python -m studies.quickstart_seeds

Under 40 minutes on 2 CPU cores; writes results/quickstart_seeds.json.
"""

from __future__ import annotations

from typing import Any

from studies.points import Report, arms_of, run_points, write

SEEDS = range(10)


def main() -> None:
    """Run what is missing, print a line for each seed and write the figures."""
    points = {f"seed-{seed}": [f"seed={seed}", f"compare.seeds=[{seed}]"] for seed in SEEDS}
    rows = [row(report) for report in run_points("quickstart", points).values()]
    print("seed  teacher  labels only  distilled  difference, 95% interval")
    for one in rows:
        low, high = one["ci95"]
        accuracies = f"{100 * one['teacher']:7.2f}  {100 * one['baseline']:11.2f}  {100 * one['kd']:9.2f}"
        print(f"{one['seed']:4}  {accuracies}  {100 * one['mean']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})")
    clear = sum(one["ci95"][0] > 0 for one in rows)
    print(f"The interval lies above zero in {clear} of {len(rows)} seeds.")
    write("quickstart_seeds", {"clear_of_zero": clear, "seeds": rows})


def row(report: Report) -> dict[str, Any]:
    """One seed's figures, shares of the test images."""
    [baseline], [kd] = arms_of(report, "baseline"), arms_of(report, "kd")
    found = report["comparison"]["kd_minus_baseline"]
    return {
        "seed": kd["seed"],
        "recipe_sha256": report["recipe_sha256"],
        "labelled": report["dataset"]["labelled"],
        "teacher": report["teachers"][0]["test_accuracy"],
        "baseline": baseline["test_accuracy"],
        "kd": kd["test_accuracy"],
        "mean": found["mean"],
        "ci95": found["ci95"],
    }


if __name__ == "__main__":
    main()
