"""What is told and changed before a run, on this machine's own memory."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.shapes import write_shapes
from tests.tiny_network import DATASET, PRESET
from tests.training.frozen import FROZEN
from training.data.augment import Augmentation
from training.errors import InputError
from training.memory.fit import BESIDE
from training.memory.free import free_memory
from training.memory.settle import How, Settled, settle, sizes
from training.parallel import World
from training.plan import Plan
from training.presets import PRESETS
from training.run_folder import RunFolder
from training.train import train

LARGE = replace(PRESET, augmentation=Augmentation(crop=(2048, 2048)), batch=8)  # 700 MB a crop


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process as one of so many that share the machine, that 2 GB are free to each."""
    share = BESIDE + 2_000_000_000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(max(1, free_memory(torch.device("cpu")) // share)))


def settled(shapes: Path, out: Path, how: How, plan: Plan | None = None) -> Settled:
    return settle(LARGE, plan or Plan(LARGE.batch), DATASET, shapes, RunFolder(out), World.alone(), how)


def test_a_run_with_room_is_left_as_it_is_and_told(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert settle(PRESET, Plan(4), DATASET, shapes, RunFolder(tmp_path), World.alone(), "check") == Settled(
        PRESET, Plan(4), has_room=True
    )
    told = capsys.readouterr().out
    assert "memory, estimated: fcn8s-tiny, 4 at a time, fp32" in told
    for line in ("parameters", "gradients", "optimiser state", "activations, 96x96 px", "file resume", "free on this cpu"):
        assert line in told


@pytest.mark.usefixtures("little")
def test_a_run_that_does_not_fit_is_refused_with_the_change_that_would_do(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--micro-batch \d makes it fit, and --fit auto does so"):
        settled(shapes, tmp_path, "check")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("little")
def test_auto_makes_that_change_and_says_so(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = settled(shapes, tmp_path, "auto")
    assert found.preset == LARGE
    assert 1 <= found.plan.micro_batch < 8
    assert not found.has_room
    assert f"--fit auto: --micro-batch {found.plan.micro_batch}" in capsys.readouterr().out


@pytest.mark.usefixtures("little")
def test_off_warns_and_goes_on(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert settled(shapes, tmp_path, "off") == Settled(LARGE, Plan(8), has_room=False)
    assert "it may run out of memory" in capsys.readouterr().out


def test_what_no_change_helps_is_refused(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000000")
    with pytest.raises(InputError, match="no change that this trainer knows makes it fit"):
        settled(shapes, tmp_path, "auto")


def test_a_run_that_has_begun_with_one_crop_at_a_time_can_only_be_given_more_memory(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunFolder(tmp_path).freeze(replace(FROZEN, preset=LARGE, plan=Plan(1)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000000")
    with pytest.raises(InputError, match="stop something else, or go on with --fit off"):
        settled(shapes, tmp_path, "auto", Plan(1))


def test_a_run_that_auto_began_keeps_its_plan(shapes: Path, tmp_path: Path) -> None:
    train(replace(PRESET, epochs=1), DATASET, shapes, tmp_path / "run", plan=Plan(2, recompute=True), workers=0)
    again = settle(PRESET, Plan(4), DATASET, shapes, RunFolder(tmp_path / "run"), World.alone(), "auto")
    assert again.plan == Plan(2, recompute=True)


def test_a_run_that_auto_began_takes_fewer_crops_at_a_time_if_asked(shapes: Path, tmp_path: Path) -> None:
    begun = Plan(micro_batch=2, precision="bf16", recompute=True)
    RunFolder(tmp_path).freeze(replace(FROZEN, preset=LARGE, plan=begun))
    assert settled(shapes, tmp_path, "auto", Plan(1)).plan == replace(begun, micro_batch=1)


@pytest.mark.usefixtures("little")
def test_a_run_that_has_begun_goes_on_with_fewer_crops_at_a_time_where_memory_is_short(shapes: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.freeze(begun := replace(FROZEN, preset=LARGE, plan=Plan(8)))
    with pytest.raises(InputError, match=r"--micro-batch \d makes it fit, and --fit auto does so"):
        settled(shapes, tmp_path, "check")
    found = settled(shapes, tmp_path, "auto")
    assert found == Settled(LARGE, Plan(found.plan.micro_batch), has_room=False)
    assert found.plan.micro_batch < 8
    assert run.begun(replace(begun, plan=found.plan)) == begun


@pytest.mark.usefixtures("little")
def test_auto_takes_the_light_head_where_nothing_else_fits_and_keeps_to_it(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper = replace(PRESETS["paper-fcn32s-vgg16"], dataset=DATASET.name, long_side=96)
    small = replace(paper, augmentation=Augmentation(crop=(96, 96)))
    run = RunFolder(tmp_path)
    found = settle(small, Plan(1), DATASET, shapes, run, World.alone(), "auto")
    assert found.preset.architecture == "fcn32s-vgg16"
    assert "THIS IS ANOTHER NETWORK" in capsys.readouterr().out
    run.freeze(replace(FROZEN, preset=found.preset, plan=found.plan))
    assert settle(small, Plan(1), DATASET, shapes, run, World.alone(), "auto") == found


@pytest.mark.parametrize(("batch", "crop"), [(1, (512, 384)), (2, (512, 416))], ids=["alone", "padded to each other"])
def test_whole_images_are_looked_at(batch: int, crop: tuple[int, int], tmp_path: Path) -> None:
    root = write_shapes(tmp_path / "shapes", train=2, val=2)
    for stem, size in (("train000", (500, 375)), ("train001", (300, 400)), ("val001", (640, 200))):
        Image.new("RGB", size).save(root / "JPEGImages" / f"{stem}.jpg")
    preset = replace(PRESET, augmentation=Augmentation(crop=None, scale=(1.0, 1.0)), long_side=None, batch=batch)
    assert sizes(preset, DATASET, root) == (crop, (640, 200))
    assert sizes(replace(preset, long_side=300), DATASET, root) == (crop, (300, 300))
