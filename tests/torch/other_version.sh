#!/usr/bin/env bash
# A job saved under one LibTorch goes on under another, in both directions.
#   other_version.sh PROGRAM OTHER_PROGRAM     two builds of training_job_main
set -euo pipefail
one=$1 other=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$one" write "$dir/a"
"$other" check "$dir/a"
"$other" write "$dir/b"
"$one" check "$dir/b"
