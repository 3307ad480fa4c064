"""Draws the results of scripts/bench. Usage: chart.py RESULTS.json CHART.png

Top: how much of its requirement each result reaches, on a logarithmic scale. Bottom, if they were measured:
how long answers took while events were trimmed, and the size of the spool.

The chart of scripts/soak (tests/examples/soak-chart.py) is a separate script: it draws lines over time from
CSV, and the two have nothing in common but the library.
"""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SIZE_TITLES = {
    "space": "Files of the big spool while everything is trimmed",
    "steady": "Files while as many events leave as arrive",
}
GREEN, RED, GREY, BLUE = "#2a7f4f", "#b3372f", "#8a8f98", "#2f6db3"


def scores(axes, rows):
    """Draws a bar for each row with a requirement. It is satisfied if the bar points to the right of 1."""
    rows = [row for row in rows if row["score"]]
    rows.reverse()
    places = range(len(rows))
    values = [row["score"] for row in rows]
    colors = [GREEN if value >= 1 else RED for value in values]
    axes.barh(places, [value - 1 for value in values], left=1, height=0.6, color=colors)
    for place, row in zip(places, rows):
        _, measured, against, _, ratio, must, _, _ = row["columns"]
        if row["stretch_score"]:
            axes.plot([row["stretch_score"]] * 2, [place - 0.4, place + 0.4], color="black", linewidth=1.5)
        shown = f"{ratio} × {against}" if row["of_ratio"] else measured
        axes.annotate(
            f"{shown}  ({must})",
            (max(row["score"], 1, row["stretch_score"] or 1), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(places, [row["columns"][0] for row in rows], fontsize=8)
    axes.set_xscale("log", base=2)
    low, high = min([0.5, *values]), max([2, *values])
    axes.set_xlim(low * 0.8, high * 8)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.axvline(1, color="black", linewidth=1)
    axes.grid(axis="x", color="#e4e6ea")
    axes.set_axisbelow(True)
    title = "Share of the requirement reached (1×: satisfied; tick: stretch; in brackets: the requirement)"
    axes.set_title(title, fontsize=10, loc="left")


def trimming(axes, series):
    """Draws how long the answers took, with and without trimming."""
    limits = sorted({limit for side in ("with", "without") for limit, _ in series[side]})
    sides = [(-0.2, "with", RED, "while trimming"), (0.2, "without", GREY, "without")]
    for shift, side, color, label in sides:
        counts = dict(series[side])
        total = sum(counts.values()) or 1
        shares = [counts.get(limit, 0) / total for limit in limits]
        axes.bar([place + shift for place in range(len(limits))], shares, width=0.4, color=color, label=label)
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(lambda *_: "")
    axes.set_xticks(range(len(limits)), [f"{limit:g}" for limit in limits], rotation=45)
    axes.set_xlabel("up to, milliseconds", fontsize=8)
    axes.set_ylabel("share of answers", fontsize=8)
    axes.legend(fontsize=8, frameon=False)
    axes.set_title("Posts while events are trimmed", fontsize=10, loc="left")


def sizes(axes, series, title):
    """Draws the size of a spool's files over time."""
    axes.plot([at for at, _ in series], [size for _, size in series], color=BLUE)
    axes.set_ylim(0, 1.08 * max(size for _, size in series))
    axes.set_xlabel("seconds", fontsize=8)
    axes.set_ylabel("MB", fontsize=8)
    axes.grid(color="#e4e6ea")
    axes.set_title(title, fontsize=10, loc="left")


def main():
    source, destination = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        results = json.load(file)
    series, machine = results["series"], results["machine"]
    panels = [name for name in ("trimming", "space", "steady") if series.get(name)]
    judged = sum(1 for row in results["rows"] if row["score"])
    heights = [max(1.2, 0.32 * judged)] + ([3.2] if panels else [])
    figure = plt.figure(figsize=(14, sum(heights) + 1.6), layout="constrained")
    upper, *lower = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if judged:
        scores(upper.subplots(), results["rows"])
    if panels:
        for axes, name in zip(lower[0].subplots(1, len(panels), squeeze=False)[0], panels):
            if name == "trimming":
                trimming(axes, series[name])
            else:
                sizes(axes, series[name], SIZE_TITLES[name])
            axes.tick_params(labelsize=8)
    described = ", ".join(machine[name] for name in ("processor", "memory", "date", "commit"))
    figure.suptitle(f"scripts/bench: {described}\n{results['how']}", fontsize=9)
    figure.savefig(destination, dpi=110)


main()
