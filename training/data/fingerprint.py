"""A checksum of labelled images, to tell whether two data sets are the same."""

import hashlib
from collections.abc import Sequence

from training.data.reader import Reader, naming


def fingerprint(splits: Sequence[Reader]) -> str:
    """SHA-256, in hex digits, over the names and labels of all images in order, however they are stored.

    Photos count by their names alone. Raises InputError for a mask that cannot be read.
    """
    digest = hashlib.sha256()
    for reader in splits:
        for stem in reader.stems():
            digest.update(stem.encode() + reader.labels(stem).tobytes())
    return digest.hexdigest()


def photos_fingerprint(splits: Sequence[Reader]) -> str:
    """SHA-256, in hex digits, over the photos' files in order, byte for byte. Raises InputError for one that cannot be read."""
    digest = hashlib.sha256()
    for reader in splits:
        for stem in reader.stems():
            with naming(reader.files(stem)[0]):
                digest.update(hashlib.sha256(reader.photo(stem)).digest())
    return digest.hexdigest()
