#!/bin/sh
# Compiles the engine's C code into its environment: build.sh PYTHON ENVIRONMENT. PYTHON has the compiler of build.lock.
set -eu
folder="$(dirname "$0")"
cache="$(mktemp -d)"
trap 'rm -rf "${cache}"' EXIT
mkdir -p "$2/lib/deepspeech_batched"
# For all CPUs, and for those with AVX2. Nobody reads errno, so mathematical functions need not set it.
for cpu in baseline baseline+avx2; do
    ZIG_GLOBAL_CACHE_DIR="${cache}" ZIG_LOCAL_CACHE_DIR="${cache}" "$1" -m ziglang cc -mcpu="${cpu}" \
        -O3 -fno-math-errno -Wall -Wextra -Werror -shared -fPIC \
        -o "$2/lib/deepspeech_batched/${cpu}.so" "${folder}/deepspeech_batched/arithmetic.c"
done
