"""A distribution then and now: two sets of bars over the same bins, and the figures as a table."""

from collections.abc import Sequence
from math import isfinite

from markupsafe import Markup, escape

from audit.lineage.content.distributions import Distribution
from audit.web.shown import text

WIDTH, HEIGHT = 336, 112
LEFT, TOP, BASE = 40, 10, 88
"""Where the bars stand: right of the axis of shares, above that of values."""
BINS = 16
MAX_CLASSES = 12
MAX_LABEL_CHARS = 18
MAX_STEP = 48
"""Widest place of the two bars of a value."""

Bars = list[tuple[str, float, float]]
"""(label, share then, share now)."""


def drawing(name: str, then: Distribution | None, now: Distribution | None) -> Markup:
    """The drawing and its figures; empty where neither side has numbers or classes."""
    bars = _numbers(then, now) or _classes(then, now)
    if not bars:
        return Markup("")
    if len(bars) == 1:
        return _only(bars[0])
    most = max((share for _, *shares in bars for share in shares), default=0) or 1
    words = escape(text(f"{name}: share of rows then and now, by value", 200))
    return Markup(
        f'<svg class="bars" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}">'
        f"{_axes(bars, most)}{_bars(bars, most)}</svg>{_figures(name, bars)}"
    )


def _only(bar: tuple[str, float, float]) -> Markup:
    """One value is said in words: a bar that stands alone says nothing."""
    label, then, now = bar
    when = "then and now" if then and now else "now" if now else "then"
    return Markup("<p>one value {}: <strong>{}</strong></p>").format(when, text(label, 80))


def _axes(bars: Bars, most: float) -> str:
    """Shares up to the largest on the left, the first and the last value below."""
    middle = (TOP + BASE) / 2
    first, last = (escape(text(bars[at][0][:MAX_LABEL_CHARS])) for at in (0, -1))
    shares = "".join(
        f'<text x="{LEFT - 5}" y="{y + 3:.0f}" text-anchor="end">{share:.0%}</text>'
        f'<line class="rule" x1="{LEFT}" y1="{y:.0f}" x2="{WIDTH}" y2="{y:.0f}"/>'
        for y, share in ((TOP, most), (middle, most / 2))
    )
    ends = (
        f'<text x="{LEFT}" y="{BASE + 16}">{first}</text>'
        f'<text x="{WIDTH}" y="{BASE + 16}" text-anchor="end">{last}</text>'
    )
    return f'{shares}<line x1="{LEFT}" y1="{BASE}" x2="{WIDTH}" y2="{BASE}"/>{ends}'


def _bars(bars: Bars, most: float) -> str:
    step = min((WIDTH - LEFT) / len(bars), MAX_STEP)
    # Few bars stand in the middle, each no broader than others.
    left = LEFT + ((WIDTH - LEFT) - step * len(bars)) / 2
    parts = []
    for at, (label, *shares) in enumerate(bars):
        for side, (state, share) in enumerate(zip(("then", "now"), shares, strict=True)):
            tall = share / most * (BASE - TOP)
            x = left + at * step + step * (0.1 + 0.4 * side)
            title = f"{label}: {state} {share:.1%}"
            parts.append(
                f'<rect class="{state}" x="{x:.1f}" y="{BASE - tall:.1f}" width="{step * 0.38:.1f}"'
                f' height="{tall:.1f}"><title>{escape(text(title, 200))}</title></rect>'
            )
    return "".join(parts)


def _figures(name: str, bars: Bars) -> str:
    """The same as a table, for whoever cannot see the drawing or wants the numbers."""
    lines = "".join(
        f'<tr><th scope="row">{escape(text(label, 80))}</th>'
        f'<td class="number">{then:.1%}</td><td class="number">{now:.1%}</td></tr>'
        for label, then, now in bars
    )
    return (
        '<details class="figures"><summary>Figures</summary><table>'
        f'<caption class="hidden">{escape(text(name, 80))}: share of rows by value</caption>'
        '<thead><tr><th scope="col">Value</th><th scope="col" class="number">Then</th>'
        '<th scope="col" class="number">Now</th></tr></thead>'
        f"<tbody>{lines}</tbody></table></details>"
    )


def _finite(side: Distribution | None) -> list[float]:
    return [] if side is None else [value for value in side.values if isfinite(value)]


def _numbers(then: Distribution | None, now: Distribution | None) -> Bars:
    old, new = _finite(then), _finite(now)
    if not old and not new:
        return []
    low, high = min(old + new), max(old + new)
    # Halved first: the difference of two doubles may be beyond the largest.
    width = (high / 2 - low / 2) / BINS * 2
    if not isfinite(width) or width <= 0:
        return [(f"{low:.6g}", float(bool(old)), float(bool(new)))]
    shares = [_binned(values, low, width) for values in (old, new)]
    labels = [f"{low + width * at:.6g}" for at in range(BINS)]
    labels[-1] = f"{high:.6g}"
    return list(zip(labels, *shares, strict=True))


def _binned(values: Sequence[float], low: float, width: float) -> list[float]:
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int((value - low) / width))] += 1
    return [count / len(values) if values else 0.0 for count in counts]


def _classes(then: Distribution | None, now: Distribution | None) -> Bars:
    sides = [{} if one is None else one.categories for one in (then, now)]
    totals = [sum(side.values()) or 1 for side in sides]
    names = sorted(
        {*sides[0], *sides[1]},
        key=lambda name: (-sides[0].get(name, 0) - sides[1].get(name, 0), name),
    )
    return [
        (name, sides[0].get(name, 0) / totals[0], sides[1].get(name, 0) / totals[1])
        for name in names[:MAX_CLASSES]
    ]
