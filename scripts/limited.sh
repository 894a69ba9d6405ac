#!/bin/sh
# Run a command as on a processor without AVX, which rounds differently: `sh scripts/limited.sh make
# test`. XLA, oneDNN, NumPy and its OpenBLAS are limited to SSE 4.2; TensorFlow's own kernels stay as
# built. PYTHON is the interpreter that the command uses (default: .venv's).
set -eu

if ! grep -qw avx2 /proc/cpuinfo 2>/dev/null; then
    echo "$0: nothing to limit: no x86-64 processor with AVX2" >&2
    exit 2
fi
# List only features that NumPy and the processor have, since NumPy warns about others.
numpy=$("${PYTHON:-$(dirname "$0")/../.venv/bin/python}" - <<'END'
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

print(*(name for name in __cpu_dispatch__ if __cpu_features__[name]))
END
)
export XLA_FLAGS="${XLA_FLAGS:-} --xla_cpu_max_isa=SSE4_2" ONEDNN_MAX_CPU_ISA=SSE41
export OPENBLAS_CORETYPE=Nehalem NPY_DISABLE_CPU_FEATURES="$numpy"
exec "$@"
