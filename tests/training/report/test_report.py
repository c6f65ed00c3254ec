"""The report, as `python -m training report` writes it: one page that says what the records say."""

import argparse
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.training.report.records import CLASSES, RECORD, made_up, write_run
from training.commands import report
from training.errors import InputError
from training.report.record import Record
from training.report.run import read_runs
from training.report.tables import jaccard_table


def compare(out: Path, *arguments: str | Path) -> tuple[str, str]:
    """HTML and Markdown of a report into folder `out`."""
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    assert report.run(parser.parse_args([*map(str, arguments), "--out", str(out)])) == 0
    return (out / "report.html").read_text(), (out / "report.md").read_text()


def columns(markdown: str, heading: str) -> dict[str, list[str]]:
    """The table below a heading: cells by the heading of their column."""
    section = markdown.split(f"## {heading}\n")[1].partition("\n## ")[0]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in section.splitlines() if line[:1] == "|"]
    headings, _, *cells = rows
    return dict(zip(headings, map(list, zip(*cells, strict=True)), strict=True))


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    """Folders of two runs of two classes, to be changed at will."""
    return write_pair(tmp_path)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a report of such a pair; not to be written to."""
    folder = tmp_path_factory.mktemp("report")
    compare(folder / "out", *write_pair(folder))
    return folder / "out"


@pytest.fixture(scope="module")
def html(out: Path) -> str:
    return (out / "report.html").read_text()


@pytest.fixture(scope="module")
def markdown(out: Path) -> str:
    return (out / "report.md").read_text()


def write_pair(folder: Path) -> list[Path]:
    """Two runs of two classes; the second is better at roads."""
    better = replace(RECORD, title="FCN-16s", confusion=((100, 0), (25, 25)), seconds=59.0, preset="camvid-fcn16s")
    return [
        write_run(folder / "one", RECORD, averaging=0.0),
        write_run(folder / "two", better, averaging=0.998, augmentation={"flip": 0.5}),
    ]


def test_the_measures_come_first_by_class_then_their_mean_their_weighted_mean_and_pixel_accuracy(
    html: str, markdown: str
) -> None:
    assert re.findall("^## (.*)$", markdown, re.MULTILINE)[0] == "What the runs reach"
    table = columns(markdown, "What the runs reach")
    assert list(table) == ["run", "road", "car", "**mean**", "**weighted mean**", "**pixel accuracy**"]
    assert table["run"] == ["FCN-32s from scratch", "FCN-16s"]
    assert table["road"] == ["75.0", "**80.0**"]
    assert table["car"] == ["50.0", "50.0"]
    assert table["**mean**"] == ["62.5", "**65.0**"]
    assert table["**weighted mean**"] == ["66.7", "**70.0**"]
    assert table["**pixel accuracy**"] == ["80.0", "**83.3**"]
    assert html.index("weighted mean") < html.index("parameters")
    assert "<b>83.3</b>" in html


def test_cost_and_further_measures_follow(markdown: str) -> None:
    table = columns(markdown, "What they cost")
    assert table["parameters"] == ["19,100,000"] * 2
    assert table["GMAC for one 480x352 image"] == ["52.25"] * 2
    assert table["peak training memory, MiB"] == ["1,536"] * 2
    assert table["training time"] == ["1 h 01 min", "0 min 59 s"]
    assert table["best epoch of those trained"] == ["9 of 10"] * 2
    assert table["mean class accuracy, %"] == ["75.0"] * 2
    assert table["mean boundary F-score, %"] == ["37.5"] * 2


def test_settings_are_listed_only_where_they_differ(markdown: str) -> None:
    table = columns(markdown, "What differs between them")
    assert {name: cells for name, cells in table.items() if name.startswith("preset.")} == {
        "preset.name": ["camvid-fcn32s", "camvid-fcn16s"],
        "preset.averaging": ["0.0", "0.998"],
        "preset.augmentation.flip": ["not set", "0.5"],
    }


def test_a_baseline_shows_what_the_others_gain_over_it(markdown: str, pair: list[Path], tmp_path: Path) -> None:
    assert "baseline" not in markdown
    table = columns(compare(tmp_path / "out", *pair, "--baseline", pair[1])[1], "What each change brings")
    assert table["run"] == ["FCN-32s from scratch", "FCN-16s"]
    assert table["mean IoU, %"] == ["62.5", "65.0"]
    assert table["difference, points"] == ["-2.5", "baseline"]


def test_a_baseline_must_be_one_of_the_runs(pair: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not among the runs"):
        compare(tmp_path / "out", pair[0], "--baseline", pair[1])


def test_the_page_states_its_split_its_definitions_and_how_each_run_was_made(markdown: str) -> None:
    assert "CamVid: 367 train, 101 val. Figures are of the val split, 101 images" in markdown
    for text in (RECORD.definition, RECORD.boundary_definition, RECORD.command, RECORD.commit[:12], RECORD.torch):
        assert text in markdown


def test_the_markdown_shows_pictures_that_lie_beside_it(out: Path, markdown: str) -> None:
    shown = re.findall(r"!\[.+\]\((.+)\)", markdown)
    assert shown == ["curves.png", "iou.png", "confusion-1.png", "confusion-2.png"]
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in shown)


def test_the_html_needs_no_other_file_and_no_script(html: str) -> None:
    tags: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append((tag, dict(attrs)))

    Reader().feed(html)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags}
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(images) == 4
    assert all(str(image["src"]).startswith("data:image/png;base64,") and image["alt"] for image in images)
    assert not re.search(r"https?://|url\(|@import", html)


def test_titles_and_notes_are_text_never_markup(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", replace(RECORD, title="<b>|x</b>"))
    (tmp_path / "notes.txt").write_text("240x180, light head & 10 epochs.\n\nOn the CPU <only>.")
    html, markdown = compare(tmp_path / "out", run, "--title", "A < B", "--notes", tmp_path / "notes.txt")
    assert "<title>A &lt; B</title>" in html
    assert "&lt;b&gt;|x&lt;/b&gt;" in html and "<b>|x" not in html
    assert "<p>240x180, light head &amp; 10 epochs.</p>\n<p>On the CPU &lt;only&gt;.</p>" in html
    assert columns(markdown, "What the runs reach")["run"] == ["&lt;b>\\|x&lt;/b>"]
    assert "240x180, light head & 10 epochs." in markdown


def test_one_run_is_a_page_too(tmp_path: Path) -> None:
    html, markdown = compare(tmp_path / "out", write_run(tmp_path / "run", RECORD))
    assert columns(markdown, "What the runs reach")["road"] == ["75.0"]
    assert "What differs" not in markdown and "the best of a column" not in html


def test_runs_of_one_title_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, RECORD) for name in ("one", "two")]
    _, markdown = compare(tmp_path / "out", *runs)
    assert columns(markdown, "What the runs reach")["run"] == [f"FCN-32s from scratch ({run})" for run in runs]


def test_a_class_that_is_nowhere_is_called_absent(tmp_path: Path) -> None:
    record = replace(RECORD, confusion=((10, 0), (0, 0)), boundary_f=(0.5, None), mean_boundary_f=0.5)
    _, markdown = compare(tmp_path / "out", write_run(tmp_path / "run", record))
    assert columns(markdown, "What the runs reach")["car"] == ["absent"]
    assert columns(markdown, "Class by class")["car"] == ["absent"]


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ("road", "bus")},
        {"split": "test"},
        {"images": 100},
        {"dataset": "other"},
        {"definition": "IoU of an older version"},
        {"photos": "f" * 64},
    ],
)
def test_runs_that_were_not_measured_alike_are_not_compared(change: dict[str, object], tmp_path: Path) -> None:
    known = replace(RECORD, photos="0" * 64)
    other: Record = replace(known, **change)  # type: ignore[arg-type]
    runs = [write_run(tmp_path / "one", known), write_run(tmp_path / "two", other)]
    with pytest.raises(InputError, match=r"two and .*one cannot be compared"):
        compare(tmp_path / "out", *runs)


def test_a_run_that_does_not_know_its_photos_is_compared(tmp_path: Path) -> None:
    known = replace(RECORD, photos="0" * 64)
    compare(tmp_path / "out", write_run(tmp_path / "old", RECORD), write_run(tmp_path / "new", known))


def test_a_run_is_not_compared_with_itself(pair: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="given twice"):
        compare(tmp_path / "out", pair[0], pair[0])


@pytest.mark.parametrize("name", ["config.json", "metrics.csv", "record.json"])
def test_a_folder_that_lacks_a_file_is_named_with_it(name: str, pair: list[Path], tmp_path: Path) -> None:
    (pair[1] / name).unlink()
    with pytest.raises(InputError, match=rf"two holds no {name}"):
        compare(tmp_path / "out", *pair)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["{", "[]", "7"])
def test_a_broken_configuration_is_named(content: str, pair: list[Path], tmp_path: Path) -> None:
    (pair[0] / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json is no configuration of a run"):
        compare(tmp_path / "out", *pair)


def test_seven_runs_of_eleven_classes_are_all_there(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / str(number), made_up(f"run {number}", 0.6, number)) for number in range(7)]
    table = jaccard_table(read_runs(folders))
    assert table.runs == tuple(f"run {number}" for number in range(7))
    assert tuple(column.heading for column in table.columns if not column.summary) == CLASSES
    assert all(sum(cell.best for cell in column.cells) >= 1 for column in table.columns)


@pytest.mark.parametrize(("number", "pictures"), [(8, ["curves.png", "iou.png"]), (9, ["curves.png"])])
def test_more_runs_than_colours_have_no_bars(number: int, pictures: list[str], tmp_path: Path) -> None:
    folders = [write_run(tmp_path / str(one), replace(RECORD, title=f"run {one}")) for one in range(number)]
    _, markdown = compare(tmp_path / "out", *folders)
    assert [name for name in re.findall(r"!\[.+\]\((.+)\)", markdown) if "confusion" not in name] == pictures
