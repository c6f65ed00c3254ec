"""Writes a trained network's files: `<name>.onnx`, smaller variants of it, and fp16 weights for fine-tuning."""

from collections.abc import Collection, Sequence
from pathlib import Path

from torch import Tensor

from service.contract import VARIANTS, ModelCard, Precision
from training.checkpoint import Checkpoint, describe_weights
from training.errors import InputError
from training.evaluate import torch_scorer
from training.export.card import Measurements, describe
from training.export.graph import to_onnx, with_card
from training.export.parity import require_parity
from training.export.variants import with_variants
from training.files import save_weights, write_atomically
from training.networks.network import SegmentationNetwork
from training.onnx_model import OnnxModel, load_onnx, read_onnx


def export(
    checkpoint: Checkpoint,
    folder: Path,
    name: str,
    where: Measurements,
    variants: Collection[Precision] = (),
    page: bool = False,
) -> dict[Path, ModelCard]:
    """Write `<name>.onnx`, `<name>.safetensors` and the variants into `folder`; returns the model files and their cards.

    Every figure of a card is measured on the graph in its file. The files are replaced one after another, the weights last:
    if the process is killed in between, export once more. Raises GateError, and leaves every file as it was, if the graph's
    scores differ from the network's or if a variant loses too much. Raises InputError if a variant or the page of an older
    model would stay in `folder`; `page` says that the caller writes the page anew.
    """
    network = checkpoint.network
    refuse_stale(folder, name, variants, page)
    bare = describe(checkpoint, name)
    model = read_onnx(with_card(to_onnx(network), bare), name)
    parity = require_parity(torch_scorer(network), model.scores, network.stride, network.output_stride)
    print(f"parity with torch: {parity}", flush=True)
    weights = half_weights(network)
    models = with_variants(model, where, variants)
    folder.mkdir(parents=True, exist_ok=True)
    cards = _write(folder, name, models)
    origin = checkpoint.commit, checkpoint.command, checkpoint.before
    save_weights(folder / f"{name}.safetensors", weights, describe_weights(checkpoint.preset, checkpoint.data, *origin))
    return cards


def export_variants(path: Path, where: Measurements, variants: Collection[Precision]) -> dict[Path, ModelCard]:
    """Write variants beside the fp32 model file at `path`, which stays as it is; returns their files and cards.

    Raises InputError if `path` is no fp32 model file, and AccuracyError if a variant loses too much.
    """
    return _write(path.parent, path.stem, with_variants(load_fp32(path), where, variants)[1:])


def load_fp32(path: Path) -> OnnxModel:
    """Load a model's fp32 file. Raises InputError if `path` is a variant or no model file."""
    model = load_onnx(path)
    if model.card.precision != "fp32":
        raise InputError(f"{path} is a variant itself ({model.card.precision}): give the fp32 file")
    return model


def refuse_stale(folder: Path, name: str, variants: Collection[Precision], page: bool) -> None:
    """Raises InputError if `folder` has a variant or the page of an older `<name>.onnx` that is not made anew.

    Made anew are `variants`, and the page if `page` is true.
    """
    for precision in VARIANTS:
        if precision not in variants and (old := model_file(folder, name, precision)).exists():
            raise InputError(
                f"{old} was made from the {name}.onnx of before: remove it, or make it anew (export --variants {precision})"
            )
    if not page and (old := folder / f"{name}.md").exists():
        raise InputError(
            f"{old} describes the {name}.onnx of before: remove it and its picture {name}.jpg, "
            "or give the model another name; export with --data writes them anew"
        )


def model_file(folder: Path, name: str, precision: Precision) -> Path:
    """Path of the model file of that precision."""
    return folder / (f"{name}.onnx" if precision == "fp32" else f"{name}.{precision}.onnx")


def _write(folder: Path, name: str, models: Sequence[OnnxModel]) -> dict[Path, ModelCard]:
    cards = {}
    for model in models:
        path = model_file(folder, name, model.card.precision)
        write_atomically(path, model.content)
        cards[path] = model.card
    return cards


def half_weights(network: SegmentationNetwork) -> dict[str, Tensor]:
    """All tensors of a network, floating-point ones as fp16. Raises InputError if a value exceeds the range of fp16."""
    state = network.state_dict()
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    for name, tensor in half.items():
        if not tensor.isfinite().all():
            raise InputError(f"{name} does not fit fp16: its largest value is {state[name].abs().max():.3g}")
    return half
