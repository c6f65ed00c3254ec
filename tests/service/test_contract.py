"""The card: what it must say, and what it may not."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from service.contract import ModelCard
from tests.service.helpers.tiny_models import card


def changed_class(**changes: object) -> list[dict[str, object]]:
    """Three classes, the second with a change."""
    classes: Any = card()["classes"]
    return [classes[0], classes[1] | changes, classes[2]]


def test_a_card_survives_its_own_json() -> None:
    first = ModelCard.model_validate(card())
    assert ModelCard.model_validate_json(first.model_dump_json()) == first


def test_colors_are_written_as_hex_and_read_as_numbers() -> None:
    assert ModelCard.model_validate(card(classes=changed_class(color="#0A14FF"))).classes[1].rgb == (10, 20, 255)


def test_255_classes_are_the_most_there_can_be() -> None:
    classes = [{"id": number, "name": str(number), "color": "#000000"} for number in range(256)]
    assert len(ModelCard.model_validate(card(classes=classes[:255])).classes) == 255
    with pytest.raises(ValidationError):
        ModelCard.model_validate(card(classes=classes))


BROKEN: dict[str, dict[str, object]] = {
    "no class": {"classes": []},
    "an id left out": {"classes": changed_class(id=2)},
    "two classes of one name": {"classes": changed_class(name="red")},
    "a class without a name": {"classes": changed_class(name="")},
    "a colour by name": {"classes": changed_class(color="green")},
    "a colour of three digits": {"classes": changed_class(color="#0c0")},
    "a colour and more": {"classes": changed_class(color="#00c000\n")},
    "a name that is a path": {"name": "../colors"},
    "a name in capitals": {"name": "Colors"},
    "a name with a line feed": {"name": "colors\n"},
    "an empty name": {"name": ""},
    "no stride": {"stride": 0},
    "more parameters than a double tells apart": {"parameters": (1 << 53) + 1},
    "strides that do not fit": {"stride": 16, "output_stride": 5},
    "an output stride above the stride": {"stride": 16, "output_stride": 32},
    "a long side of nothing": {"long_side": 0},
    "a pad value above 255": {"pad_value": 256},
    "an unknown precision": {"precision": "fp64"},
    "a halo within a cell of the stride": {"halo": {"before": 16, "after": 24}},
    "a halo cut out": {"halo": {"before": -1, "after": 0}},
    "an IoU above 1": {
        "metrics": [
            {
                "split": "val",
                "images": 1,
                "definition": "none",
                "mean_iou": 75.0,
                "weighted_iou": 0,
                "pixel_accuracy": 0,
                "mean_class_accuracy": 0,
                "iou": {},
            }
        ]
    },
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_card_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        ModelCard.model_validate_json(json.dumps(card(**BROKEN[name])))


@pytest.mark.parametrize("key", ["name", "classes", "stride", "output_stride", "pad_value", "precision", "licence", "gmac"])
def test_a_card_without_a_needed_entry_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        ModelCard.model_validate({name: value for name, value in card().items() if name != key})


def test_a_card_states_what_a_variant_costs_and_gains() -> None:
    latency = {"milliseconds": 20.0, "width": 480, "height": 352, "provider": "CPU", "threads": 2, "processor": "some"}
    compared = {"fp32_mean_iou": 0.7, "lost_points": -0.1, "fp32_milliseconds": 36.0, "latency_ratio": 1.8}
    found = ModelCard.model_validate(card(precision="int8", latency=latency, compared=compared))
    assert found.latency is not None and found.compared is not None
    assert (found.latency.milliseconds, found.compared.lost_points) == (20, -0.1)
    assert ModelCard.model_validate(card()).latency is None  # cards of before had none


def test_what_a_later_version_adds_to_a_card_is_ignored() -> None:
    assert ModelCard.model_validate(card(carbon_grams=20)) == ModelCard.model_validate(card())


def test_a_card_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ModelCard.model_validate(card()).stride = 8  # type: ignore[misc]
