#!/bin/bash
# What each part of CamVid's recipe brings: every run, then the page.   docs/ablation/train.sh CAMVID RUNS
# Begin it again after a stop, and it goes on where it was.
set -euo pipefail
data=$1 runs=$2
here=$(dirname "$0")
python=$here/../../.venv/bin/python # of `make train`
kept=()
for name in camvid imagenet cross-entropy log median fcn8s last constant frozen one-scale colors; do
    init=(--init "$here/../../models/animals-fcn8s-lite2.safetensors")
    [ "$name" != imagenet ] || init=()
    run=$runs/ablation-$name
    [ -e "$run/record.json" ] || "$python" -m training train "ablation-$name" --data "$data" --out "$run" "${init[@]}"
    keep=$here/../runs/ablation-$name
    mkdir -p "$keep"
    cp "$run"/{config.json,metrics.csv,record.json} "$keep/" # what is kept of a run: text
    kept+=("$keep")
done
"$python" -m training report "${kept[@]}" --baseline "$here/../runs/ablation-camvid" --out "$here" \
    --title "What each part of CamVid's recipe brings" --notes "$here/notes.txt"
