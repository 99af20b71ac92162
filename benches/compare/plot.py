"""Series as an SVG, log-log, one panel for each thing that grows; readable on a light and on a dark ground."""

import math
from html import escape

# Of middle lightness, and told apart by all eyes (after Okabe and Ito); more series than these are dashed.
COLOURS = ["#0f8a68", "#d55e00", "#3b83c9", "#c7679f", "#b8860b", "#7a6fd0", "#888888"]
WIDTH, HEIGHT, LEFT, TOP, LINE = 300, 230, 56, 30, 15


def write(path, series):
    panels = list(dict.fromkeys(one.over for one in series))
    most = max(sum(one.over == panel for one in series) for panel in panels)
    costs = [cost for one in series for _, cost in one.points]
    # The same scale everywhere: panels can be compared.
    low, high = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))
    width, height = len(panels) * (WIDTH + LEFT + 14), TOP + HEIGHT + 44 + most * LINE + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11" fill="#808080">'
    ]
    for number, panel in enumerate(panels):
        shown = [one for one in series if one.over == panel]
        parts.append(f'<g transform="translate({number * (WIDTH + LEFT + 14) + LEFT} {TOP})">')
        parts += draw(panel, shown, low, high)
        parts.append("</g>")
    parts.append("</svg>\n")
    with open(path, "w") as file:
        file.write("\n".join(parts))


def draw(panel, series, low, high):
    sizes = sorted({size for one in series for size, _ in one.points})
    least = min(size for size in sizes if size > 0)

    # Nought has no logarithm: it stands a decade before the first size.
    def decade(size):
        return math.log10(size) if size > 0 else math.log10(least) - 1

    left, right = decade(sizes[0]), decade(sizes[-1])

    def x(size):
        return (decade(size) - left) / (right - left) * WIDTH

    def y(cost):
        return HEIGHT - (math.log10(cost) - low) / (high - low) * HEIGHT

    for power in range(low, high + 1):
        at = y(10**power)
        yield f'<path d="M0 {at:.1f}H{WIDTH}" stroke="#808080" stroke-opacity="0.3"/>'
        yield f'<text x="-6" y="{at + 4:.1f}" text-anchor="end">{microseconds(power)}</text>'
    for size in sizes:
        yield f'<path d="M{x(size):.1f} 0V{HEIGHT}" stroke="#808080" stroke-opacity="0.15"/>'
        yield f'<text x="{x(size):.1f}" y="{HEIGHT + 16}" text-anchor="middle">{short(size)}</text>'
    yield f'<text x="{WIDTH / 2}" y="{HEIGHT + 33}" text-anchor="middle" font-weight="bold">{escape(panel)}</text>'
    for number, one in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        line = "M" + "L".join(f"{x(size):.1f} {y(cost):.1f}" for size, cost in one.points)
        yield f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x(size):.1f}" cy="{y(cost):.1f}" r="3" fill="{colour}"/>' for size, cost in one.points)
        at = HEIGHT + 44 + number * LINE
        yield f'<path d="M0 {at + 5}h18" stroke="{colour}" stroke-width="2"/>'
        yield f'<text x="24" y="{at + 9}">{escape(one.name.replace("`", ""))} ({escape(one.theory)})</text>'


def microseconds(power):
    return f"{10**power} µs" if power < 3 else f"{10 ** (power - 3)} ms" if power < 6 else f"{10 ** (power - 6)} s"


def short(size):
    return f"{size // 1_000_000}M" if size >= 1_000_000 else f"{size // 1_000}k" if size >= 1_000 else str(size)
