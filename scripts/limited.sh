#!/bin/sh
# Run a command as on a processor with narrower vectors, whose last bits are others:
# `sh scripts/limited.sh make test`. SSE 4.2 where the processor has AVX2, AVX2 where it has
# AVX-512. Limited are XLA, oneDNN, NumPy and its OpenBLAS; what TensorFlow's own kernels were built
# with (AVX) stays.
set -eu

[ "$(uname -m)" = x86_64 ] || { echo "$0: for x86-64 processors" >&2; exit 2; }
if grep -qw avx512f /proc/cpuinfo; then
    isa=AVX2 onednn=AVX2 openblas=Haswell
elif grep -qw avx2 /proc/cpuinfo; then
    isa=SSE4_2 onednn=SSE41 openblas=Nehalem
else
    echo "$0: for processors that have AVX2" >&2; exit 2
fi
# NumPy warns of a feature that the processor lacks or NumPy was not built for.
numpy=$("$(dirname "$0")/../.venv/bin/python" - $isa <<'END'
import sys
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

wide = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
print(*(name for name in wide if sys.argv[1] != "AVX2" or name != "X86_V3"))
END
)
echo "Limited to $isa; NumPy without $numpy" >&2
export XLA_FLAGS="${XLA_FLAGS:-} --xla_cpu_max_isa=$isa" ONEDNN_MAX_CPU_ISA=$onednn
export OPENBLAS_CORETYPE=$openblas NPY_DISABLE_CPU_FEATURES="$numpy"
exec "$@"
