#!/bin/sh
# packages.sh - checks that what the build needs is installed, and installs what is not.
#
#   packages.sh NAME...      NAME is a command (gcc, valgrind), a pkg-config module (sndfile), "headers" (the C library's),
#                            deb:PACKAGE (a Debian package that is neither),
#                            "lavapipe" (a Vulkan driver that needs no GPU) or "validation" (Vulkan's validation layer)
#
# Nothing is touched when everything is there. As root, or where sudo asks no password, missing Debian packages are
# installed; otherwise the one command to type is printed and the script fails, which stops make.
set -eu

# What provides NAME on Debian and its derivatives.
package_of() {
    case $1 in
        sndfile) echo libsndfile1-dev ;;
        samplerate) echo libsamplerate0-dev ;;
        fftw3f | fftw3) echo libfftw3-dev ;;
        libzip) echo libzip-dev ;;
        zlib) echo zlib1g-dev ;;
        libcjson) echo libcjson-dev ;;
        libxxhash) echo libxxhash-dev ;;
        cmocka) echo libcmocka-dev ;;
        openblas) echo libopenblas-dev ;;
        vulkan) echo libvulkan-dev ;;       # the headers; the loader is opened at run time
        spirv-opt | spirv-val) echo spirv-tools ;;
        lavapipe) echo mesa-vulkan-drivers ;;
        validation) echo vulkan-validationlayers ;;
        deb:*) echo "${1#deb:}" ;;
        headers) echo libc6-dev ;;
        cc) echo gcc ;;
        */*) echo "" ;;                     # a compiler given by its path
        *) echo "$1" ;;                     # a command of its package's name: gcc, clang, pkg-config, valgrind
    esac
}

is_module() {
    case $1 in sndfile | samplerate | fftw3f | fftw3 | libzip | zlib | libcjson | libxxhash | cmocka | openblas | vulkan) true ;; *) false ;; esac
}

is_there() {
    if is_module "$1"; then pkg-config --exists "$1" 2>/dev/null
    elif [ "${1#deb:}" != "$1" ]; then dpkg-query -W -f '${Status}' "${1#deb:}" 2>/dev/null | grep -q ' installed$'
    elif [ "$1" = lavapipe ]; then ls /usr/share/vulkan/icd.d/lvp_icd*.json >/dev/null 2>&1
    elif [ "$1" = validation ]; then [ -e /usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json ]
    elif [ "$1" = headers ]; then [ -e /usr/include/stdio.h ] || echo '#include <stdio.h>' | ${CC:-cc} -E - >/dev/null 2>&1
    else command -v "$1" >/dev/null 2>&1; fi
}

missing="" names=""
for name in "$@"; do
    is_there "$name" && continue
    names="$names $name"
    package=$(package_of "$name")
    case " $missing " in *" $package "*) ;; *) missing="$missing $package" ;; esac
done
[ -n "$names" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing:$names. Install these (on Debian:$missing) and run make again." >&2
    exit 1
fi
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

for name in $names; do
    is_there "$name" || { echo "$name is still missing after installing$missing." >&2; exit 1; }
done
