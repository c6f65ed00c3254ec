"""The known data sets, by name."""

from functools import partial
from pathlib import Path

from service.contract import voc_color
from service.metrics import VOID
from training.data.dataset import Dataset, class_table
from training.data.masks import by_value
from training.data.paired import PairedReader
from training.data.sbd import SbdReader
from training.data.voc import VOC_CLASSES, VocReader

# VOC ids of background, cat, cow, dog, horse, sheep, person: the classes of voc-animals, in id order.
_ANIMAL_IDS = (0, 8, 10, 12, 13, 17, 15)
_VOC_IDS = tuple(range(len(VOC_CLASSES)))
_VOC_TABLE = class_table(*((name, voc_color(voc_id)) for voc_id, name in enumerate(VOC_CLASSES)))
_FLICKR_TERMS = (
    "Weights: Apache-2.0. Trained on Flickr photos that remain under their owners' terms, used as the "
    "research community uses PASCAL VOC and SBD."
)
_VOC_LIMITS = (
    "Twenty kinds of object; everything else is background, and what resembles one of the twenty may get its name.",
    "The photos are holiday and family pictures of about 500 px: expect less on drawings, infrared, aerial or "
    "microscope images.",
)
_CAMVID_VALUES = partial(by_value, ids={**{class_id: class_id for class_id in range(11)}, 11: VOID})
_NUCLEI_VALUES = partial(by_value, ids={0: 0, 1: 1})


def _camvid(root: Path, split: str) -> PairedReader:
    return PairedReader(root / split, root / f"{split}annot", _CAMVID_VALUES)


def _nuclei(root: Path, split: str) -> PairedReader:
    return PairedReader(root / split / "images", root / split / "masks", _NUCLEI_VALUES)


DATASETS = {
    "voc-animals": Dataset(
        name="voc-animals",
        description="PASCAL VOC 2012 + SBD images that hold cats, cows, dogs, horses or sheep: 3,131 train, 228 val",
        licence=_FLICKR_TERMS,
        limits=(
            "Every training photo holds at least one animal, and people appear in them beside animals: on photos "
            "of other things it may see animals or miss people; the empty scenes above say how often.",
            "Animals of other kinds (birds, wild animals) are not classes, and may get the name of one.",
            "The photos are holiday and family pictures of about 500 px: expect less on drawings, "
            "infrared, aerial or microscope images.",
            "Outlines follow scores at an eighth of the working size: thin legs, tails and ropes are rounded off.",
        ),
        # Okabe & Ito's palette: distinct on a photo, also for colour-blind people. VOC's colours are too dark for either.
        classes=class_table(
            ("background", "#000000"),
            ("cat", "#e69f00"),
            ("cow", "#56b4e9"),
            ("dog", "#009e73"),
            ("horse", "#f0e442"),
            ("sheep", "#cc79a7"),
            ("person", "#d55e00"),
        ),
        train=lambda root: VocReader(root, "train", _ANIMAL_IDS, others_are_void=False),
        evaluation=lambda root, split: VocReader(root, split, _ANIMAL_IDS, others_are_void=True),
    ),
    "voc": Dataset(
        name="voc",
        description="PASCAL VOC 2012, segmentation: 1,464 train, 1,449 val",
        licence=_FLICKR_TERMS,
        limits=(*_VOC_LIMITS, "Only 1,464 photos to learn from: rare poses and rare views are often missed."),
        classes=_VOC_TABLE,
        train=lambda root: VocReader(root, "train", _VOC_IDS, others_are_void=True),
        evaluation=lambda root, split: VocReader(root, split, _VOC_IDS, others_are_void=True),
    ),
    "sbd": Dataset(
        name="sbd",
        description="SBD, the Semantic Boundaries Dataset: VOC 2011 photos, 8,498 train, 2,857 val",
        licence=_FLICKR_TERMS,
        limits=(
            *_VOC_LIMITS,
            "Outlines were drawn by paid crowd workers, with no border of void: they are rougher than VOC's own.",
            "Photos of VOC's val split are among the training photos: figures on VOC val would flatter.",
        ),
        classes=_VOC_TABLE,
        train=lambda root: SbdReader(root, "train"),
        evaluation=SbdReader,
    ),
    "camvid": Dataset(
        name="camvid",
        description="CamVid at 480x360 in the SegNet tutorial's 11 classes: 367 train, 101 val, 233 test video frames",
        licence="CC BY-NC 4.0, as CamVid: personal and research use only.",
        limits=(
            "Four drives through Cambridge (UK), by day and at dusk, seen from one car: expect less in other towns, "
            "at night, in rain or snow, and from another height.",
            "The val frames are one stretch of one street, and other stretches of that drive are in train: on the test "
            "split figures are some 8 points lower, and on new streets lower still.",
            "Buses and trucks are labelled car, and lane markings road: it was not taught to tell them apart.",
            "At 480x360, thin poles and distant signs are a few pixels wide, and often missed.",
            "Not made for driving: nothing here was tested for safety.",
        ),
        # The SegNet tutorial's colours, except for cars and pedestrians, whose colours there are too dark to see.
        classes=class_table(
            ("sky", "#808080"),
            ("building", "#800000"),
            ("pole", "#c0c080"),
            ("road", "#804080"),
            ("pavement", "#3c28de"),
            ("tree", "#808000"),
            ("sign", "#c08080"),
            ("fence", "#404080"),
            ("car", "#e69f00"),
            ("pedestrian", "#f0e442"),
            ("bicyclist", "#0080c0"),
        ),
        train=lambda root: _camvid(root, "train"),
        evaluation=_camvid,
    ),
    "nuclei": Dataset(
        name="nuclei",
        description="2018 Data Science Bowl (BBBC038), stage 1, instances merged: 464 train, 100 val, 100 test images",
        licence="CC0, as the images are: no restrictions.",
        limits=(
            "It tells nucleus from background, not one nucleus from its neighbour: touching nuclei come out as one area.",
            "Most training images show fluorescent nuclei on black; purple-stained tissue and bright-field images are few.",
            "Masks were drawn by many hands, at many magnifications: borders are uncertain by a pixel or two.",
            "Not a medical device: nothing here was tested for diagnosis.",
        ),
        classes=class_table(("background", "#000000"), ("nucleus", "#e69f00")),
        train=lambda root: _nuclei(root, "train"),
        evaluation=_nuclei,
    ),
}
