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

[ -x "$folder/bin/python" ] && cmp -s "$here/requirements.txt" "$folder/requirements.txt" && exit 0

sh "$here/../../tools/packages.sh" deb:python3-venv deb:python3-torch deb:libopenblas0-openmp

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
