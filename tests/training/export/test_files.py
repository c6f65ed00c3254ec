"""From a trained network to one model file, or to none."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from service.contract import METADATA_KEY, ModelCard
from training.checkpoint import Checkpoint, load_checkpoint
from training.data.datasets import DATASETS
from training.errors import InputError
from training.evaluate import evaluate, torch_scorer, torch_segmenter
from training.export.card import Measurements
from training.export.files import export, half_weights
from training.export.parity import ParityError
from training.networks.fcn import FCN
from training.onnx_model import load_onnx


def test_the_file_holds_a_valid_card_with_what_was_measured(models: Path, checkpoint: Checkpoint, run: Path) -> None:
    file = onnx.load(models / "tiny.onnx")
    [entry] = file.metadata_props
    assert entry.key == METADATA_KEY
    card = ModelCard.model_validate_json(entry.value)
    assert (card.name, card.preset, card.precision) == ("tiny", checkpoint.preset.name, "fp32")
    assert (card.stride, card.output_stride) == (32, 8)
    assert card.training_commit == checkpoint.commit
    [metrics] = card.metrics
    assert (metrics.split, metrics.images) == ("val", 4)
    [scene] = card.empty_scenes
    assert scene.images == "4 images: val000, val001, val002, val003"
    assert "person" in scene.classes


def test_the_input_is_bytes_and_batch_height_and_width_are_free(models: Path) -> None:
    graph = onnx.load(models / "tiny.onnx").graph
    [image], [scores] = graph.input, graph.output
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    assert (scores.name, scores.type.tensor_type.elem_type) == ("scores", onnx.TensorProto.FLOAT)
    batch, height, width, bands = image.type.tensor_type.shape.dim
    assert all(axis.dim_param for axis in (batch, height, width))
    assert bands.dim_value == 3


def test_the_file_says_nothing_of_the_machine_that_wrote_it(models: Path) -> None:
    assert str(Path(__file__).parents[2]).encode() not in (models / "tiny.onnx").read_bytes()


@pytest.mark.parametrize("shape", [(1, 32, 32), (2, 32, 224), (1, 416, 32), (4, 96, 160)])
def test_the_file_gives_the_networks_scores_at_sizes_the_gate_did_not_try(
    shape: tuple[int, int, int], models: Path, checkpoint: Checkpoint
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    scores = load_onnx(models / "tiny.onnx").scores(image)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, torch_scorer(checkpoint.network)(image), rtol=1e-4, atol=1e-4)


def test_the_cards_metrics_are_those_of_the_network(models: Path, checkpoint: Checkpoint, shapes: Path) -> None:
    [stated] = load_onnx(models / "tiny.onnx").card.metrics
    reader = DATASETS["voc-animals"].evaluation(shapes, "val")
    confusion = evaluate(torch_segmenter(checkpoint.network, checkpoint.preset), reader, 7)
    assert stated.mean_iou == pytest.approx(confusion.mean_iou, abs=1e-4)
    assert stated.iou["cow"] is None or stated.iou["cow"] == 0  # no shape plays a cow


def corrupt(model: onnx.ModelProto) -> onnx.ModelProto:
    """Change one weight of the coarsest score layer by a tenth of its layer's range."""
    weights = next(w for w in model.graph.initializer if w.name.endswith("scores.0.weight"))
    values = onnx.numpy_helper.to_array(weights).copy()
    values.flat[0] += 0.1 * np.ptp(values)
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    return model


def test_a_corrupted_export_is_refused_and_the_old_files_stay(
    checkpoint: Checkpoint, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrupted = corrupt(onnx.load(models / "tiny.onnx"))
    monkeypatch.setattr("training.export.files.to_onnx", lambda network: corrupted)
    (tmp_path / "tiny.onnx").write_bytes(b"old")
    with pytest.raises(ParityError, match="differs from the network"):
        export(checkpoint, tmp_path, "tiny", Measurements())
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("tiny.onnx", b"old")]


def test_fine_tuning_weights_are_fp16_and_give_nearly_the_same_scores(models: Path, checkpoint: Checkpoint) -> None:
    again = load_checkpoint(models / "tiny.safetensors")
    assert (again.preset, again.commit) == (checkpoint.preset, checkpoint.commit)
    assert (models / "tiny.safetensors").stat().st_size < 0.6 * 4 * sum(p.numel() for p in again.network.parameters()) + 10_000
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
    expected, found = torch_scorer(checkpoint.network)(image), torch_scorer(again.network)(image)
    assert 0 < abs(expected - found).max() < 0.01 * abs(expected).max()


def test_weights_beyond_fp16_are_refused(checkpoint: Checkpoint) -> None:
    state = checkpoint.network.state_dict()

    class Large(FCN):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.register_buffer("variance", state["backbone.steps.0.1.running_var"] + 1e5)

    with pytest.raises(InputError, match="variance does not fit fp16"):
        half_weights(Large())


def test_a_model_without_a_card_is_named(tmp_path: Path, models: Path) -> None:
    model = onnx.load(models / "tiny.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(InputError, match=r"bare\.onnx has no card"):
        load_onnx(tmp_path / "bare.onnx")


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="no valid ONNX model"):
        load_onnx(tmp_path / "broken.onnx")
