"""Estimates the memory of a recipe by running one step with fake tensors, which have shapes but no contents."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode  # no public name; torch is pinned

from service.geometry import padded_size
from training.learner import Learner, create_network
from training.losses import SegmentationLoss
from training.memory.live import LiveBytes
from training.optimizer import create_optimizer
from training.parallel import World
from training.plan import Plan
from training.presets.preset import Loss, Preset

BYTES_PER_PIXEL = 3 + 1 + 8  # of a waiting batch: RGB, uint8 label, and the int64 label that the loss takes
Size = tuple[int, int]  # width, height in pixels


@dataclass(frozen=True)
class Estimate:
    """Bytes in memory, then bytes of the files on disk."""

    parameters: int  # with the buffers of normalisation
    gradients: int
    optimizer: int
    average: int  # the moving average of the weights
    activations: int  # what the forward pass of a micro-batch leaves for the backward pass, and the batch itself
    step: int  # the peak during a step: the part of all these then alive, and workspaces
    validation: int  # the peak while the averaged network sees the largest image
    weights_file: int  # best.safetensors or last.safetensors
    resume_file: int  # resume.safetensors

    @property
    def peak(self) -> int:
        """The memory that must be free before training begins."""
        return max(self.step, self.validation)


def estimate(
    preset: Preset, plan: Plan, classes: int, crop: Size, largest: Size, device: torch.device, processes: int = 1
) -> Estimate:
    """What each of `processes` that train together takes on a device of the kind of `device`.

    `crop` is the size of an image in a step; `largest` is the largest image in validation, before padding.
    """
    with torch.device("meta"):
        network = create_network(preset, classes, plan)
    averaged = copy.deepcopy(network).requires_grad_(False)
    live, seen = LiveBytes(device), min(preset.batch // processes, 2 * plan.micro_batch)  # a third part is like the second
    cpu = torch.device("cpu")  # shapes do not depend on the device, and CPU tensors need no GPU
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in (network, averaged):
            module.to_empty(device=cpu)
            for tensor in (*module.parameters(), *module.buffers()):
                live.count(tensor)
        learner = Learner(
            preset=replace(preset, loss=Loss(reduction="sum")),  # weighting pixels costs no memory
            network=network,
            averaged=averaged,
            optimizer=create_optimizer(network, preset.optimizer),
            loss=SegmentationLoss(None, preset.loss.jaccard),
            plan=plan,
            world=World(0, 1, cpu),
            parallel=network,
            scaler=torch.amp.GradScaler("cpu", enabled=False),
            copied=None,
        )
        with live:
            gradients = _first_step(learner)
            persistent = live.now - gradients
            left: list[int] = []
            network.register_forward_hook(lambda *_: left.append(live.now))
            live.restart()
            width, height = crop
            shape = (seen, height, width)
            learner.learn(torch.empty(seen, 3, height, width, dtype=torch.uint8), torch.empty(shape, dtype=torch.uint8), 1)
            step = live.peak
            learner.optimizer.zero_grad()
            live.restart()
            width, height = padded_size(*largest, network.stride)
            with torch.no_grad():
                averaged.eval()(torch.empty(1, 3, height, width))
            validation = live.peak
    unseen = (preset.batch // processes - seen) * crop[0] * crop[1] * BYTES_PER_PIXEL
    buckets = gradients if processes > 1 else 0  # of DistributedDataParallel, to exchange gradients
    weights = _size(averaged.state_dict().values())
    optimizer = _size(value for state in learner.optimizer.state.values() for value in state.values())
    return Estimate(
        parameters=_size((*network.parameters(), *network.buffers())),
        gradients=gradients,
        optimizer=optimizer,
        average=_size((*averaged.parameters(), *averaged.buffers())),
        activations=left[0] - persistent,
        step=step + unseen + buckets,
        validation=validation + buckets,
        weights_file=weights,
        resume_file=2 * weights + optimizer,
    )


def _first_step(learner: Learner) -> int:
    """Make the optimiser create its state, as it is from the second step on; returns the bytes of all gradients."""
    learned = [parameter for parameter in learner.network.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.grad = torch.empty_like(parameter)
    learner.optimizer.step()
    return _size(learned)


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
