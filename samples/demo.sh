#!/bin/sh
# demo.sh - what `make demo` does once everything is built: convert samples/ and say what a real voice takes.
set -eu
build=${BUILD:-build}
models=$build/demo/models
"$build/rvc" convert samples -o "$build/demo/out" -m "$models/rvc_v2_40k.npz" --models "$models" --timing --overwrite
cat <<END

Converted samples/ into $build/demo/out.

The models of this demo are synthetic: the networks are the real ones in every size, their weights are made up. A
synthetic voice has no voice, so what you hear is noise with the right structure. The times are those of a real one.

For a real voice you need:
  hubert_base.pt   189,507,909 bytes, sha256 f54b40fd...   what is said
  rmvpe.pt         181,189,687 bytes, sha256 a5ed4719...   the pitch
  a voice          its .pth, and its .index if it has one  who says it
The first two are at https://huggingface.co/lj1995/VoiceConversionWebUI; check them with sha256sum.
Put the first two into ./models (or into \$RVC_MODELS, or name their folder with --models) and type:

    $build/rvc convert FOLDER -o OUT -m voice.pth --index voice.index
END
