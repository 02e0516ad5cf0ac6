#!/bin/sh
# make_env.sh - makes the Python environment of the peers: make_env.sh FOLDER
#
# PyTorch is Debian's, with an OpenBLAS that shares its threads (two pools of threads on the same cores slow
# each other down); ONNX and ONNX Runtime are PyPI's, as requirements.txt pins them, in a virtual environment under
# FOLDER. Nothing is done when FOLDER holds the environment of this requirements.txt already.
set -eu

folder=$1
here=$(cd "$(dirname "$0")" && pwd)
python=/usr/bin/python3
packages="python3-venv python3-torch libopenblas0-openmp"

[ -x "$folder/bin/python" ] && cmp -s "$here/requirements.txt" "$folder/requirements.txt" && exit 0

missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ]; then as_root="env DEBIAN_FRONTEND=noninteractive"
    elif sudo -n true 2>/dev/null; then as_root="sudo -n env DEBIAN_FRONTEND=noninteractive"
    else
        echo "Packages are missing. Type this, then run make again:" >&2
        echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "Installing the missing packages:$missing" >&2
    $as_root apt-get update -q >&2
    # shellcheck disable=SC2086  # a list of words, on purpose
    $as_root apt-get install -y -q --no-install-recommends $missing >&2
fi

rm -rf "$folder"
"$python" -m venv --system-site-packages "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$here/requirements.txt"
"$folder/bin/python" - <<'CHECK'
import numpy, onnx, onnxruntime, torch
torch.from_numpy(numpy.ones(1))  # fails where torch and NumPy do not fit together
print(f"peers: PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}, ONNX {onnx.__version__}, "
      f"NumPy {numpy.__version__}")
CHECK
cp "$here/requirements.txt" "$folder/requirements.txt"
