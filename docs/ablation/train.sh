#!/bin/bash
# What each part of the recipes brings: every run, then the pages.   docs/ablation/train.sh CAMVID NUCLEI ANIMALS RUNS
# Begin it again after a stop, and it goes on where it was.
set -euo pipefail
camvid=$1 nuclei=$2 animals=$3 runs=$4
here=$(dirname "$0")
python=$here/../../.venv/bin/python # of `make train`

train() { # NAME DATA [--init FILE]
    local run=$runs/ablation-$1 keep=$here/../runs/ablation-$1
    [ -e "$run/record.json" ] || "$python" -m training train "ablation-$1" --data "$2" --out "$run" "${@:3}"
    mkdir -p "$keep"
    cp "$run"/{config.json,metrics.csv,record.json} "$keep/" # what is kept of a run: text
    kept+=("$keep")
}

kept=()
for name in camvid cross-entropy log median fcn8s last constant frozen one-scale colors mirror warm-up; do
    train $name "$camvid" --init "$here/../../models/animals-fcn8s-lite2.safetensors"
done
train imagenet "$camvid"
"$python" -m training report "${kept[@]}" --baseline "$here/../runs/ablation-camvid" --out "$here" \
    --title "What each part of CamVid's recipe brings" --notes "$here/notes.txt"

kept=()
train nuclei "$nuclei"
train nuclei-turns "$nuclei"
"$python" -m training report "${kept[@]}" --baseline "$here/../runs/ablation-nuclei" --out "$here/nuclei" \
    --title "What quarter turns bring to nuclei" --notes "$here/nuclei.txt"

kept=()
for name in animals animals-crops; do
    train $name "$animals" --init "$here/../../models/animals-fcn8s-lite0.safetensors"
done
"$python" -m training report "${kept[@]}" --baseline "$here/../runs/ablation-animals" --out "$here/animals" \
    --title "What whole photos bring to the animals" --notes "$here/animals.txt"
