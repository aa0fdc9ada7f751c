#!/usr/bin/env bash
# What is worth knowing on a GPU, in one call: the tests of GPUs, the rates of training, the cost of a chip, and then
# training of Table 5 at full scale, for as long as time is left.
#
#     benchmarks/speed/gpu.sh OUT [SECONDS]
#
# OUT gets the logs, and in OUT/table5 the rows; a later call with the same OUT continues the training. SECONDS (540):
# when the script ends. A part that fails does not stop the others, but the exit status is then 1. A claim of speed that
# fails is named in the summary, and leaves the status as it is. Ctrl-C stops all.
#
# Environment: DEVICE (cuda); DATA, the images, such as npz:/data/cifar100.npz (torchvision:CIFAR100, which is
# downloaded); PYTHON (python); TESTS (tests), what pytest runs. SMALL=1 takes a small network for the rates and digits
# for the training: on a CPU in a minute, with DEVICE=cpu.
set -u
seconds=${2:-540}
case $seconds in *[!0-9]* | '') seconds= ;; esac
if [ $# -lt 1 ] || [ $# -gt 2 ] || [ -z "$seconds" ]; then
    echo "usage: benchmarks/speed/gpu.sh OUT [SECONDS]; SECONDS is a whole number, such as 540." >&2
    exit 2
fi
mkdir -p -- "$1" || exit 2
out=$(cd -- "$1" && pwd)
end=$(($(date +%s) + 10#$seconds))
cd "$(dirname "$0")/../.." || exit 2
python=${PYTHON:-python} device=${DEVICE:-cuda} small=${SMALL:+--small}
summary="$out/summary.txt" failed=0 child=
trap 'echo "stopped" >>"$summary"; [ -n "$child" ] && kill -TERM "$child" 2>/dev/null; exit 130' INT TERM
: >"$summary"

part() { # part NAME MOST COMMAND...: runs a command for at most MOST seconds, into OUT/NAME.txt
    local name=$1 most=$2 start status left claims
    shift 2
    start=$(date +%s)
    left=$((end - start))
    if [ "$left" -lt 5 ]; then
        printf '%-10s no time was left\n' "$name" >>"$summary"
        return
    fi
    timeout --signal INT --kill-after 20 "$((most < left ? most : left))" "$@" >"$out/$name.txt" 2>&1 &
    child=$!
    wait "$child"
    status=$?
    case $status in
    0)
        claims=$(sed -n 's/  .* FAILS$//p' "$out/$name.txt" | paste -sd ';' | sed 's/;/, /g')
        result="finished${claims:+, claims failed: $claims (see $name.txt)}"
        ;;
    124 | 130 | 137) result="stopped after $most s or at the end of the time" ;;
    *) result="FAILED with status $status, see $name.txt" failed=1 ;;
    esac
    printf '%-10s %5d s  %s\n' "$name" "$(($(date +%s) - start))" "$result" >>"$summary"
}

# shellcheck disable=SC2086  # $small is empty or one option
{
    part tests 150 "$python" -m pytest -n0 -m "gpu and not slow" ${TESTS:-tests}
    part steps 120 "$python" benchmarks/speed/steps.py --device "$device" --rounds 3 $small
    part chips 60 "$python" benchmarks/speed/chips.py --device "$device" $small
    part arrays 90 "$python" benchmarks/speed/arrays.py --device "$device" $small
    if [ -n "$small" ]; then
        part table5 540 "$python" -m aimc_robust compare benchmarks/incorruptible/table5.toml --scale smoke --out "$out/table5"
    else
        accelerator=$([ "$device" = cpu ] && echo cpu || echo gpu)
        part table5 540 "$python" -m aimc_robust compare benchmarks/incorruptible/table5.toml --out "$out/table5" \
            --accelerator "$accelerator" --set training.precision=bf16-mixed --set training.channels_last=true \
            --set "data.name=${DATA:-torchvision:CIFAR100}"
    fi
}
for name in tests steps chips arrays table5; do
    if [ -f "$out/$name.txt" ]; then
        printf '\n== %s\n' "$name"
        tail -n 15 "$out/$name.txt"
    fi
done
printf '\n== %s on %s\n' "$(date -u +%FT%TZ)" "$device"
cat "$summary"
exit "$failed"
