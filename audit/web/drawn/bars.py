"""A distribution then and now, as two sets of bars over the same bins."""

from collections.abc import Sequence
from math import isfinite

from markupsafe import Markup, escape

from audit.lineage.content.distributions import Distribution
from audit.web.shown import text

WIDTH, HEIGHT, BASE = 320, 96, 80
BINS = 16
MAX_CLASSES = 12
MAX_LABEL_CHARS = 18

Bars = list[tuple[str, float, float]]
"""(label, share then, share now)."""


def drawing(name: str, then: Distribution | None, now: Distribution | None) -> Markup:
    """The drawing; empty where neither side has numbers or classes."""
    bars = _numbers(then, now) or _classes(then, now)
    if not bars:
        return Markup("")
    most = max((share for _, *shares in bars for share in shares), default=0) or 1
    step = WIDTH / len(bars)
    parts = []
    for at, (label, *shares) in enumerate(bars):
        for side, (state, share) in enumerate(zip(("then", "now"), shares, strict=True)):
            tall = share / most * (BASE - 6)
            x = at * step + step * (0.1 + 0.4 * side)
            title = f"{label}: {state} {share:.1%}"
            parts.append(
                f'<rect class="{state}" x="{x:.1f}" y="{BASE - tall:.1f}" width="{step * 0.38:.1f}"'
                f' height="{tall:.1f}"><title>{escape(text(title, 200))}</title></rect>'
            )
    first, last = (escape(text(bars[at][0][:MAX_LABEL_CHARS])) for at in (0, -1))
    words = escape(text(f"{name}: then and now", 200))
    return Markup(
        f'<svg class="bars" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}">'
        f'<line x1="0" y1="{BASE}" x2="{WIDTH}" y2="{BASE}"/>{"".join(parts)}'
        f'<text x="0" y="{HEIGHT - 2}">{first}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 2}" text-anchor="end">{last}</text></svg>'
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
