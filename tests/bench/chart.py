"""Draws each price that has a target, as a fraction of the target, with gnuplot."""

import subprocess

SCRIPT = """
set terminal svg noenhanced size 900,{height} font "sans,12" background "white"
set output "{path}"
set title "The cost of the guard, as a fraction of the target (1: just reached)"
set style fill solid 0.8 noborder
set grid xtics
set yrange [-0.7:{top}]
set xrange [0:{right}]
set ytics ({names}) nomirror
set lmargin 52
set tmargin 3
unset key
set arrow from 1,-0.7 to 1,{top} nohead lw 2 lc rgb "#404040" front
$prices << EOD
{rows}
EOD
plot $prices using (0):1:(0):(column(2)):(column(1)-0.35):(column(1)+0.35):3 \\
        with boxxyerror lc rgb variable, \\
     $prices using (column(2)):1:4 with labels left offset 0.5,0 font "sans,10"
"""
REACHED, MISSED = 0x2E8B57, 0xC0504D
WIDEST = 5.0  # longer bars are cut off; their label shows the value


def draw(figures, path):
    shown = [figure for figure in reversed(figures) if figure.target]
    rows = []
    for at, figure in enumerate(shown):
        part = max(min(figure.price / figure.target, WIDEST), 0)
        label = f"{figure.price:.2f} of {figure.target:g} {figure.price_unit}"
        rows.append(f'{at} {part:.4f} {REACHED if figure.reached else MISSED} "{label}"')
    names = ", ".join(f'"{figure.name}" {at}' for at, figure in enumerate(shown))
    subprocess.run(["gnuplot"], text=True, check=True, input=SCRIPT.format(
        height=120 + 24 * len(shown), path=path, top=len(shown) - 0.3, right=WIDEST + 1.5,
        names=names, rows="\n".join(rows)))
