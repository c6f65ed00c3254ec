"""Writes the report: report.html, which contains its pictures, and report.md with its pictures as files beside it."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from PIL import Image

from training.files import write_atomically
from training.pictures.bars import iou_bars
from training.pictures.confusion import confusion_picture
from training.pictures.curves import compared_curves
from training.pictures.figure import COLORS, DOTS_PER_INCH
from training.report.run import Run
from training.report.tables import (
    Table,
    baseline_table,
    boundary_table,
    cost_table,
    difference_table,
    jaccard_table,
)


@dataclass(frozen=True)
class Picture:
    """A PNG file of the report."""

    name: str
    heading: str  # also the alternative text of the picture
    content: bytes

    @property
    def width(self) -> int:
        """Width on a screen in pixels, at 100 per inch: the size that the picture is drawn for."""
        with Image.open(io.BytesIO(self.content)) as picture:
            return picture.width * 100 // DOTS_PER_INCH

    @property
    def address(self) -> str:
        """The picture itself, as a `data:` URI."""
        return "data:image/png;base64," + base64.b64encode(self.content).decode()


@dataclass(frozen=True)
class Section:
    """Tables or pictures under a heading."""

    heading: str
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()


def write_report(runs: Sequence[Run], baseline: Run | None, title: str, notes: Sequence[str], out: Path) -> Path:
    """Compare runs with each other and with `baseline`, one of them, if given; returns the path of report.html in `out`.

    `notes` are paragraphs below the title.
    """
    sections = describe(runs, baseline)
    record = runs[0].record
    environment = Environment(
        loader=PackageLoader("training.report"),
        autoescape=select_autoescape(["html.jinja"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["cell"] = markdown_cell
    out.mkdir(parents=True, exist_ok=True)
    for section in sections:
        for picture in section.pictures:
            write_atomically(out / picture.name, picture.content)
    for name in ("report.md", "report.html"):
        template = environment.get_template(name + ".jinja")
        page = template.render(title=title, notes=notes, runs=runs, record=record, sections=sections)
        write_atomically(out / name, page.encode())
    return out / "report.html"


def describe(runs: Sequence[Run], baseline: Run | None) -> list[Section]:
    """The sections of the page, from the top."""
    names = runs[0].record.classes
    curves = compared_curves({run.label: run.rows for run in runs})
    bars: tuple[Picture, ...] = ()
    if len(runs) <= len(COLORS):  # with more runs, the bars' colours would repeat
        picture = iou_bars({run.label: run.record.matrix.jaccard for run in runs}, names)
        bars = (Picture("iou.png", "IoU of each class", picture),)
    confusions = [
        Picture(f"confusion-{number}.png", run.label, confusion_picture(run.record.matrix, names))
        for number, run in enumerate(runs, 1)
    ]
    sections = [Section("What the runs reach", (jaccard_table(runs),))]
    if baseline is not None:
        sections.append(Section("What each change brings", (baseline_table(runs, baseline),)))
    sections += [
        Section("What they cost", (cost_table(runs),)),
        Section("How they learned", pictures=(Picture("curves.png", "validation mean IoU by epoch", curves),)),
        Section("Class by class", (boundary_table(runs),), bars),
        Section("What is taken for what", pictures=tuple(confusions)),
    ]
    if (differences := difference_table(runs)).columns:
        sections.append(Section("What differs between them", (differences,)))
    return sections


def markdown_cell(text: str) -> str:
    """The text, escaped for a cell of a Markdown table."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
