"""Whether labelled images are those that a run began with."""

import hashlib
from collections.abc import Sequence

from training.data.reader import Reader


def fingerprint(splits: Sequence[Reader]) -> str:
    """SHA-256 of the names and the labels of all images, in order: photos are told by their names alone.

    Raises InputError for a mask that cannot be read.
    """
    digest = hashlib.sha256()
    for reader in splits:
        for stem in reader.stems():
            labels = reader.labels(stem)
            digest.update(f"{stem} {labels.shape} ".encode())
            digest.update(labels.tobytes())
    return digest.hexdigest()
