"""Numbers as people read them: sizes, durations, counts and times, always with their unit."""

import math
import time

_SIZES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
_SPANS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def size_text(size_bytes: float) -> str:
    """A size in decimal units: "36 MB", "1.2 GB", "512 B"."""
    for unit, scale in _SIZES:
        if size_bytes >= scale:
            return f"{_three_digits(size_bytes / scale)} {unit}"
    return f"{int(size_bytes)} B"


def duration_text(seconds: float) -> str:
    """A span of time in its two largest units: "2 min 5 s", "3 h", "40 s"."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    index = next(i for i, (_, scale) in enumerate(_SPANS) if seconds >= scale)
    unit, scale = _SPANS[index]
    small_unit, small = _SPANS[index + 1]
    rest = seconds % scale // small
    whole = f"{seconds // scale} {unit}"
    return f"{whole} {rest} {small_unit}" if rest and seconds // scale < 10 else whole


def count_text(count: float) -> str:
    """A count, grouped below a million and shortened above: "1,204", "134.5 M"."""
    for unit, scale in (("G", 1e9), ("M", 1e6)):
        if count >= scale:
            return f"{_three_digits(count / scale)} {unit}"
    return f"{round(count):,}"


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 row", "1,200 rows"."""
    return f"{count_text(count)} {noun}" if count == 1 else f"{count_text(count)} {noun}s"


def number_text(value: float | None) -> str:
    """A measured number with four significant digits; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def relative_time(timestamp: float, now: float | None = None) -> str:
    """How long ago: "just now", "3 min ago", "2 d ago"."""
    seconds = (time.time() if now is None else now) - timestamp
    if seconds < 10:
        return "just now"
    unit, scale = next((unit, scale) for unit, scale in _SPANS if seconds >= scale)
    return f"{int(seconds // scale)} {unit} ago"


def exact_time(timestamp: float) -> str:
    """The local date and time to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp))


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
