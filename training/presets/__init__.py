"""Presets are data: everything a run depends on, frozen into its folder."""

from training.errors import InputError
from training.presets.ablation import ABLATION
from training.presets.animals import ANIMALS
from training.presets.camvid import CAMVID
from training.presets.fine_tuning import FINE_TUNING
from training.presets.nuclei import NUCLEI
from training.presets.paper import PAPER
from training.presets.preset import Preset
from training.presets.students import STUDENTS

PRESETS = {preset.name: preset for preset in (*ANIMALS, *CAMVID, *ABLATION, *NUCLEI, *FINE_TUNING, *PAPER, *STUDENTS)}


def find_preset(name: str) -> Preset:
    """The preset of that name; raises InputError if there is none."""
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]
