"""Shows what a data set looks like: some images of each split beside their labels."""

from pathlib import Path

from PIL import Image

from training.data.check import TRAIN, Findings
from training.data.dataset import Dataset
from training.data.reader import read_pair
from training.pictures.panel import cells, contact_sheet
from training.spread import at_even_steps

SAMPLES = 9  # pairs of each split


def data_panel(dataset: Dataset, root: Path, findings: Findings) -> Image.Image:
    """SAMPLES pairs of each split at even steps, each as image | labels, above a legend. White is void.

    Raises ValueError if `findings` has no pair without errors.
    """
    rows = []
    for split in findings.splits:
        reader = dataset.train(root) if split.name == TRAIN else dataset.evaluation(root, split.name)
        for stem in at_even_steps(split.stems, SAMPLES):
            image, labels = read_pair(reader, stem)
            rows.append((f"{split.name}  {stem}", cells(image, [labels], dataset.classes)))
    return contact_sheet(rows, dataset.classes, columns=3)
