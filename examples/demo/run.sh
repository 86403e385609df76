#!/usr/bin/env bash
# Runs the demo of a finished build in a directory of its own, and removes that in the end.
#   examples/demo/run.sh BUILD_DIR [--keep] [OPTION OF THE DEMO]...
set -euo pipefail

usage="usage: $0 BUILD_DIR [--keep] [OPTION]...   (OPTIONs: BUILD_DIR/bin/examples/demo --help)"
[[ $# -ge 1 && -d $1/bin ]] || { echo "$usage" >&2; exit 2; }
build=$(cd "$1" && pwd)
shift
keep='' options=()
for word in "$@"; do
  if [[ $word == --keep ]]; then keep=1; else options+=("$word"); fi
done

# In the build directory rather than in /tmp, which may be memory: flushes shall reach a disk.
directory=$(mktemp -d "$build/demo.XXXXXX")
clean_up() {
  if [[ -n $keep ]]; then echo "kept: $directory"; else rm -rf "$directory"; fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
"$build/bin/examples/demo" --programs "$build/bin" --directory "$directory" \
  "${options[@]}"
