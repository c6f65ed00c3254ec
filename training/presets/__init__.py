"""All presets. A preset is data: every setting of a run, frozen into the run's folder."""

from training.errors import InputError
from training.presets.ablation import ABLATION
from training.presets.animals import ANIMALS
from training.presets.camvid import CAMVID
from training.presets.fine_tuning import FINE_TUNING
from training.presets.nuclei import NUCLEI
from training.presets.paper import PAPER
from training.presets.preset import Preset
from training.presets.students import STUDENTS

GROUPS = {  # purpose -> presets
    "a folder of your own": FINE_TUNING,
    "the shipped models": (*ANIMALS, *CAMVID, *NUCLEI),
    "the paper's networks": PAPER,
    "the students' report": STUDENTS,
    "comparisons of one choice each": ABLATION,
}
PRESETS = {preset.name: preset for group in GROUPS.values() for preset in group}


def find_preset(name: str) -> Preset:
    """The preset called `name`. Raises InputError if there is none."""
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]
