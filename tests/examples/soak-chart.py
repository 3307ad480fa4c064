"""Draws the columns of a CSV file as panels, one above the other, over the same x.

Usage: soak-chart.py IN.csv OUT.png --x COLUMN[/DIVISOR] LABEL [--title TEXT] [--marks COLUMN] [--bands COLUMN]
       --panel "LABEL" COLUMN[/DIVISOR]=NAME ... [--panel ...]

--marks names a column with texts where something happened: a thin vertical line, in the dash of its text.
--bands names a column whose text lasts for some rows: the panels are shaded in turn, and the first has the texts.
"""

import argparse
import csv

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

# Okabe and Ito: eight colours that people tell apart whatever kind of colour vision they have. The dashes say it again.
COLOURS = ["#0072B2", "#D55E00", "#56B4E9", "#E69F00", "#009E73", "#CC79A7"]
DASHES = ["-", "-", (0, (4, 1)), (0, (4, 1)), (0, (1, 1)), (0, (1, 1))]
MARK_COLOUR = "#555555"
MARK_DASHES = ["-", "--", ":", "-.", (0, (1, 4)), (0, (6, 3)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2, 1, 2)), (0, (12, 3)), (0, (2, 6))]


def series(rows, column):
    """The values of COLUMN[/DIVISOR]; what is empty is a gap in the line."""
    column, _, divisor = column.partition("/")
    divisor = float(divisor or 1)
    return [float(row[column]) / divisor if row[column] else float("nan") for row in rows]


def bands(rows, column):
    """Where the text of a column begins and ends: (text, first row, first row of the next)."""
    begin = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end][column] != rows[begin][column]:
            yield rows[begin][column], begin, min(end, len(rows) - 1)
            begin = end


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("table")
    parser.add_argument("picture")
    parser.add_argument("--title")
    parser.add_argument("--x", nargs=2, required=True)
    parser.add_argument("--marks")
    parser.add_argument("--bands")
    parser.add_argument("--panel", nargs="+", action="append", required=True)
    wanted = parser.parse_args()
    with open(wanted.table, newline="") as table:
        rows = list(csv.DictReader(table))
    if not rows:
        parser.exit(f"{wanted.table} has no rows yet: nothing is drawn\n")

    figure, panels = pyplot.subplots(
        len(wanted.panel), sharex=True, squeeze=False, figsize=(16, 1 + 2.6 * len(wanted.panel)), layout="constrained"
    )
    panels = panels[:, 0]
    x = series(rows, wanted.x[0])
    for panel, (label, *columns) in zip(panels, wanted.panel):
        for number, column in enumerate(columns):
            column, _, name = column.partition("=")
            style = {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}
            panel.plot(x, series(rows, column), label=name or column, linewidth=1.1, **style)
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0)
        panel.margins(x=0)
        panel.grid(axis="y", color="#dddddd", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
        if len(columns) > 1:
            panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    panels[-1].set_xlabel(wanted.x[1])

    if wanted.bands:
        for number, (text, begin, end) in enumerate(bands(rows, wanted.bands)):
            if number % 2:
                for panel in panels:
                    panel.axvspan(x[begin], x[end], color="#f1f1f1", zorder=-2, linewidth=0)
            panels[0].text((x[begin] + x[end]) / 2, 1.01, text, transform=panels[0].get_xaxis_transform(),
                           rotation=90, fontsize=6, ha="center", va="bottom", color="#333333")
    if wanted.marks:
        happened = [(at, text) for at, row in zip(x, rows) for text in row[wanted.marks].split("; ") if text]
        kinds = sorted({text for _, text in happened})
        for at, text in happened:
            dash = MARK_DASHES[kinds.index(text) % len(MARK_DASHES)]
            for panel in panels:
                panel.axvline(at, color=MARK_COLOUR, linestyle=dash, linewidth=0.7, zorder=-1)
        lines = [pyplot.Line2D([], [], color=MARK_COLOUR, linewidth=0.9, linestyle=MARK_DASHES[number % len(MARK_DASHES)])
                 for number in range(len(kinds))]
        if lines:
            figure.legend(lines, kinds, loc="outside lower center", ncols=min(len(kinds), 10), frameon=False,
                          handlelength=4)
    if wanted.title:
        figure.suptitle(wanted.title)
    figure.savefig(wanted.picture, dpi=100)


main()
