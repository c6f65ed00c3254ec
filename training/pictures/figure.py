"""What all plots share: a figure that needs no screen, colours and lines of the series, and the PNG encoding."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe & Ito's colours, which colour-blind people can tell apart, with grey and without yellow, too pale for lines on white.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000", "#999999")
DOTS_PER_INCH = 150
LINES = ("-", "--", ":")  # from the ninth series on, the colours repeat with another line style


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; width and height are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def color(number: int) -> str:
    """Colour of series `number`, counted from 0."""
    return COLORS[number % len(COLORS)]


def line(number: int) -> str:
    """Line style of series `number`, counted from 0."""
    return LINES[number // len(COLORS) % len(LINES)]


def literal(name: str) -> str:
    """A name as matplotlib shows it unchanged: without the escape, what stands between two dollar signs is a formula."""
    return name.replace("$", r"\$")


def png(figure: Figure, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """The figure as a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dots_per_inch)
    return content.getvalue()
