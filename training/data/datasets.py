"""The known data sets, by name."""

from training.data.dataset import Dataset, class_table
from training.data.voc import VocReader

# VOC ids of background, cat, cow, dog, horse, sheep, person: the animals classes in their own order.
_ANIMAL_IDS = (0, 8, 10, 12, 13, 17, 15)

DATASETS = {
    "voc-animals": Dataset(
        name="voc-animals",
        description="PASCAL VOC 2012 + SBD images that hold cats, cows, dogs, horses or sheep: 3,131 train, 228 val",
        licence=(
            "Weights: Apache-2.0. Trained on Flickr photos that remain under their owners' terms, used as the "
            "research community uses PASCAL VOC and SBD."
        ),
        limits=(
            "Every training photo holds at least one animal, and people appear in them beside animals: on photos "
            "of other things it may see animals or miss people; the empty scenes above say how often.",
            "Animals of other kinds (birds, wild animals) are not classes, and may get the name of one.",
            "The photos are holiday and family pictures of about 500 px: expect less on drawings, "
            "infrared, aerial or microscope images.",
            "Outlines follow scores at an eighth of the working size: thin legs, tails and ropes are rounded off.",
        ),
        # Okabe & Ito's palette: told apart on a photo, and by colour-blind people. VOC's own are too dark for either.
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
}
