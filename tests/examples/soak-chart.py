"""Draws the samples of scripts/soak as panels over time. Usage: soak-chart.py SAMPLES.csv CHART.png TITLE

Vertical lines mark what was stopped, killed or changed. The shading shows the phases, whose names are at the
top.

The benchmark's chart (tests/bench/chart.py) is a separate script: it draws bars and histograms from JSON, and
the two have nothing in common but the library.
"""

import csv
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

# A title for each panel, then for each line a column of the CSV file, a divisor and a label.
PANELS = [
    (
        "memory, MB",
        [
            ("tap_anonymous", 1e6, "tap, anonymous"),
            ("tap_resident", 1e6, "tap, resident"),
            ("target_anonymous", 1e6, "target, anonymous"),
            ("target_resident", 1e6, "target, resident"),
        ],
    ),
    ("files, MB", [("spool", 1e6, "spool.db"), ("wal", 1e6, "spool.db-wal")]),
    ("events a second", [("acknowledged", 1, "acknowledged")]),
    ("events not confirmed", [("backlog", 1, "backlog")]),
    ("descriptors", [("tap_descriptors", 1, "tap"), ("target_descriptors", 1, "target")]),
]

# Okabe and Ito's colours, which can be distinguished with any kind of colour vision. The dashes help further.
COLOURS = ["#0072B2", "#D55E00", "#56B4E9", "#E69F00"]
DASHES = ["-", "-", (0, (4, 1)), (0, (4, 1))]
MARK_COLOUR = "#555555"
MARK_DASHES = [
    "-", "--", ":", "-.",
    (0, (1, 4)), (0, (6, 3)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2, 1, 2)), (0, (12, 3)), (0, (2, 6)),
]


def series(rows, column, divisor):
    """The values of a column. An empty cell is a gap in the line."""
    return [float(row[column]) / divisor if row[column] else float("nan") for row in rows]


def phases(rows):
    """For each phase: its name, its first row, and the first row after it."""
    begin = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end]["phase"] != rows[begin]["phase"]:
            yield rows[begin]["phase"], begin, min(end, len(rows) - 1)
            begin = end


def draw_lines(panel, rows, minutes, title, lines):
    for number, (column, divisor, label) in enumerate(lines):
        style = {"color": COLOURS[number], "linestyle": DASHES[number]}
        panel.plot(minutes, series(rows, column, divisor), label=label, linewidth=1.1, **style)
    panel.set_ylabel(title)
    panel.set_ylim(bottom=0)
    panel.margins(x=0)
    panel.grid(axis="y", color="#dddddd", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def draw_phases(panels, rows, minutes):
    top = panels[0]
    for number, (name, begin, end) in enumerate(phases(rows)):
        if number % 2:
            for panel in panels:
                panel.axvspan(minutes[begin], minutes[end], color="#f1f1f1", zorder=-2, linewidth=0)
        middle = (minutes[begin] + minutes[end]) / 2
        style = {"rotation": 90, "fontsize": 6, "ha": "center", "va": "bottom", "color": "#333333"}
        top.text(middle, 1.01, name, transform=top.get_xaxis_transform(), **style)


def draw_marks(figure, panels, rows, minutes):
    marks = [(at, mark) for at, row in zip(minutes, rows) for mark in row["marks"].split("; ") if mark]
    kinds = sorted({mark for _, mark in marks})
    dashes = {kind: MARK_DASHES[number % len(MARK_DASHES)] for number, kind in enumerate(kinds)}
    for at, mark in marks:
        for panel in panels:
            panel.axvline(at, color=MARK_COLOUR, linestyle=dashes[mark], linewidth=0.7, zorder=-1)
    if kinds:
        style = {"color": MARK_COLOUR, "linewidth": 0.9}
        lines = [pyplot.Line2D([], [], linestyle=dashes[kind], **style) for kind in kinds]
        place = {"loc": "outside lower center", "ncols": min(len(kinds), 10)}
        figure.legend(lines, kinds, frameon=False, handlelength=4, **place)


def main():
    source, destination, title = sys.argv[1:]
    with open(source, newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    if not rows:
        print(f"{source} has no samples yet: nothing is drawn")
        return
    size = (16, 1 + 2.6 * len(PANELS))
    figure, panels = pyplot.subplots(len(PANELS), sharex=True, figsize=size, layout="constrained")
    minutes = series(rows, "seconds", 60)
    for panel, (label, lines) in zip(panels, PANELS):
        draw_lines(panel, rows, minutes, label, lines)
    panels[-1].set_xlabel("minutes")
    draw_phases(panels, rows, minutes)
    draw_marks(figure, panels, rows, minutes)
    figure.suptitle(title)
    figure.savefig(destination, dpi=100)


main()
