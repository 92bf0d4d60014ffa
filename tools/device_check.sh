#!/bin/sh
# The device tests and the benchmark on a CUDA machine, from the repository root:
#     sh tools/device_check.sh [FOLDER]
# It needs no installation of this package, only what it imports. What is printed is also kept in
# FOLDER (device-check by default) as it comes, so that a run that is cut off leaves what it had;
# the benchmark writes benchmarks/results/gpu.json after every row. PYTHON and DEVICE may be set.
python=${PYTHON:-python}
device=${DEVICE:-cuda}
folder=${1:-device-check}
mkdir -p "$folder" || exit 1
export PYTHONPATH=".${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 MPLBACKEND=Agg HF_HUB_OFFLINE=1
failed=0

part() {  # part NAME COMMAND...: run it, show and keep what it prints, remember how it ended
    name=$1
    shift
    echo "== $name: $*"
    echo "cut off" > "$folder/$name.status"
    { "$@" 2>&1; echo "$?" > "$folder/$name.status"; } | tee "$folder/$name.txt"
    echo "== $name ended with $(cat "$folder/$name.status")"
    test "$(cat "$folder/$name.status")" = 0 || failed=1
}

part machine "$python" -c "
import platform, torch
print(platform.python_version(), torch.__version__, torch.version.cuda)
print(torch.cuda.get_device_name() if torch.cuda.is_available() else 'no CUDA')"

# -W default: warnings of versions other than those pinned do not fail a test. Files one by one,
# so that one that cannot be imported does not stop the others.
for file in $(grep -l "mark.device" tests/test_*.py); do
    part "$(basename "$file" .py)" "$python" -m pytest -o addopts= --import-mode=importlib \
        -W default -p no:cacheprovider -v -m device --device "$device" --durations=5 "$file"
done

part benchmark "$python" -m benchmarks.gpu
if [ -f benchmarks/results/gpu.json ]; then cp benchmarks/results/gpu.json "$folder"; fi
exit $failed
