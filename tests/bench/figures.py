"""The measured figures, and their tables as text, Markdown and JSON."""

import dataclasses
import json


@dataclasses.dataclass
class Figure:
    group: str
    name: str
    unit: str
    values: dict          # by variant: "plain" is without the guard, "guarded" with it
    price: float = None   # the number that is compared with the target
    price_unit: str = ""  # such as "x floor", "us more"
    target: float = None  # None: the figure has no target
    noise: float = None   # the price of a twin, or the spread of a twin's ratios
    note: str = ""

    @property
    def reached(self):
        return None if self.target is None else self.price <= self.target

    def cells(self):
        """The cells of the figure's row, in the order of HEADINGS."""
        verdict = {None: "", True: "reached", False: "not reached"}[self.reached]
        others = ", ".join(f"{name} {number(value)}" for name, value in self.values.items()
                           if name not in ("plain", "guarded"))
        return [self.name, *(cell(self.values.get(name), self.unit)
                             for name in ("plain", "guarded")), others,
                "" if self.price is None else f"{number(self.price)} {self.price_unit}",
                "" if self.noise is None else number(self.noise),
                "" if self.target is None else number(self.target), verdict, self.note]


HEADINGS = ["figure", "without", "with the guard", "others", "price", "noise", "target", "result",
            "note"]


def number(value):
    if isinstance(value, str):
        return value
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if 0 < abs(value) < 2 else f"{value:.1f}"


def cell(value, unit):
    return "" if value is None else f"{number(value)} {unit}".strip()


def groups(figures):
    """Returns [(group, its figures)] in the order of measurement."""
    found = {}
    for figure in figures:
        found.setdefault(figure.group, []).append(figure)
    return found.items()


def as_text(group, figures):
    """Returns the table of one group for a terminal."""
    rows = [[group, *HEADINGS[1:]], *(figure.cells() for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip()
                     for row in rows)


def as_markdown(figures):
    lines = []
    for group, members in groups(figures):
        lines += [f"### {group}", "", "| " + " | ".join(HEADINGS) + " |",
                  "|" + " --- |" * len(HEADINGS)]
        lines += ["| " + " | ".join(figure.cells()) + " |" for figure in members]
        lines.append("")
    return "\n".join(lines)


def as_json(figures, conditions):
    return json.dumps({**conditions, "figures": [
        {**dataclasses.asdict(figure), "reached": figure.reached} for figure in figures]},
        indent=1) + "\n"
