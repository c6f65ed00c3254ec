"""Batches of random crops, addressed so that a run can be resumed at any step."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset, Sampler

from service.metrics import VOID
from training.data.augment import Augmentation, random_crop
from training.data.reader import Reader, read_pair
from training.errors import InputError
from training.wording import counted

Batch = list[torch.Tensor]  # pixels and labels


class CropDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Random crops, addressed by (epoch, index): an address always gives the same crop. Raises InputError without images."""

    def __init__(self, reader: Reader, augmentation: Augmentation, pad_value: int, seed: int) -> None:
        self.reader, self.augmentation, self.pad_value, self.seed = reader, augmentation, pad_value, seed
        self.stems = reader.stems()
        if not self.stems:
            raise InputError("the data set has no training images")

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, address: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """((3, H, W) uint8, (H, W) uint8); raises InputError for an unreadable pair."""
        epoch, index = address
        random = np.random.default_rng((self.seed, epoch, index))
        stem = self.stems[index]
        image, truth = read_pair(self.reader, stem)
        pixels, labels = random_crop(image, truth, self.augmentation, self.pad_value, random)
        return torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(labels)

    def __getitems__(self, addresses: list[tuple[int, int]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """A batch's samples; whole images of different sizes are padded right and bottom to the largest height and width."""
        samples = [self[address] for address in addresses]
        height, width = (max(labels.shape[axis] for _, labels in samples) for axis in (0, 1))

        def padded(tensor: torch.Tensor, value: int) -> torch.Tensor:
            return F.pad(tensor, (0, width - tensor.shape[-1], 0, height - tensor.shape[-2]), value=value)

        return [(padded(pixels, self.pad_value), padded(labels, VOID)) for pixels, labels in samples]


def without_trace(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same batches. An InputError from a worker process has the whole traceback as its text: only the last line is kept."""
    try:
        yield from batches
    except InputError as error:
        raise InputError(str(error).rstrip().splitlines()[-1].removeprefix("training.errors.InputError: ")) from error


def share_of_batch(batch: int, processes: int) -> int:
    """Number of a batch's crops for each process. Raises InputError if they cannot be shared evenly."""
    if batch % processes:
        raise InputError(f"{processes} processes cannot share batches of {batch} evenly")
    return batch // processes


class ResumableSampler(Sampler[list[tuple[int, int]]]):
    """Batches of `CropDataset` addresses from a given step on, shuffled anew each epoch, without the incomplete last batch.

    Each of the `processes` that train together gets its own part of every batch, by `rank`. Raises InputError if the
    images do not fill a batch, or if the number of processes does not divide the batch size.
    """

    def __init__(
        self, size: int, batch: int, epochs: int, seed: int, first_step: int, rank: int = 0, processes: int = 1
    ) -> None:
        if size < batch:
            raise InputError(f"one batch of {batch} takes more than {counted(size, 'image')}")
        share_of_batch(batch, processes)
        self.size, self.batch, self.seed, self.first_step = size, batch, seed, first_step
        self.rank, self.processes = rank, processes
        self.steps_per_epoch = size // batch
        self.steps = epochs * self.steps_per_epoch
        self.first_epoch = first_step // self.steps_per_epoch + 1

    def __len__(self) -> int:
        return self.steps - self.first_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.first_step, self.steps):
            epoch, position = divmod(step, self.steps_per_epoch)
            if position == 0 or step == self.first_step:
                order = np.random.default_rng((self.seed, epoch)).permutation(self.size)
            chosen = order[position * self.batch : (position + 1) * self.batch]
            yield [(epoch, int(index)) for index in chosen[self.rank :: self.processes]]
