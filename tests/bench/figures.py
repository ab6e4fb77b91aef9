"""What was measured, one Figure each, and the table they make in text, Markdown and JSON."""

import dataclasses
import json


@dataclasses.dataclass
class Figure:
    group: str
    name: str
    unit: str
    values: dict          # by variant: "plain" is without the guard, "guarded" with it
    price: float = None   # what is held against the target
    of: str = ""          # what the price is: "x floor", "us more"
    target: float = None  # None: told, and compared with nothing
    noise: float = None   # what a twin differs by, as the price is counted
    note: str = ""

    @property
    def reached(self):
        return None if self.target is None else self.price <= self.target

    def told(self):
        """The cells of its row."""
        verdict = {None: "", True: "reached", False: "not reached"}[self.reached]
        beside = ", ".join(f"{name} {number(value)}" for name, value in self.values.items()
                           if name not in ("plain", "guarded"))
        return [self.name, *(cell(self.values.get(name), self.unit)
                             for name in ("plain", "guarded")), beside,
                "" if self.price is None else f"{number(self.price)} {self.of}",
                "" if self.noise is None else number(self.noise),
                "" if self.target is None else number(self.target), verdict, self.note]


HEADINGS = ["figure", "without", "with the guard", "beside", "price", "noise", "target", "", ""]


def number(value):
    if isinstance(value, str):
        return value
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if 0 < abs(value) < 2 else f"{value:.1f}"


def cell(value, unit):
    return "" if value is None else f"{number(value)} {unit}".strip()


def groups(figures):
    """[(group, its figures)] in the order they were measured."""
    found = {}
    for figure in figures:
        found.setdefault(figure.group, []).append(figure)
    return found.items()


def as_text(group, figures):
    """A table for a terminal, of one group."""
    rows = [[group, *HEADINGS[1:]], *(figure.told() for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip()
                     for row in rows)


def as_markdown(figures):
    lines = []
    for group, members in groups(figures):
        lines += [f"### {group}", "", "| " + " | ".join(HEADINGS) + " |",
                  "|" + " --- |" * len(HEADINGS)]
        lines += ["| " + " | ".join(figure.told()) + " |" for figure in members]
        lines.append("")
    return "\n".join(lines)


def as_json(figures, about):
    return json.dumps({**about, "figures": [
        {**dataclasses.asdict(figure), "reached": figure.reached} for figure in figures]},
        indent=1) + "\n"
