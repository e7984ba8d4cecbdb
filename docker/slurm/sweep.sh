#!/bin/bash
# A Ray cluster on the nodes of one Slurm job, and a sweep on it (docs/clusters.md). In an environment that has this
# package, in a folder that all nodes share:
#
#   sbatch --nodes=4 --gpus-per-node=2 docker/slurm/sweep.sh spaces/grpo.yaml --set budget.trials=64
#
# The arguments are those of `python -m sweep run`. The script gives it --name, --runs, --address and --resume:
#
#   SWEEP_NAME           name of the run, which goes on if there is one already; default: sweep-JOBID
#   SWEEP_RUNS           folder of the runs, shared by the nodes, or its URI; default: runs
#   SWEEP_PRIVATE        folder for the token, shared by the nodes; default: your home
#   SWEEP_WAIT           seconds until all nodes must have joined; default: 600
#   SWEEP_OBJECT_STORE   bytes of each node's object store; default: 1073741824
#
# Before its time is over the job stops the sweep, and asks Slurm for another turn, which continues the run.
#
#SBATCH --job-name=sweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@600
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --output=sweep-%j.log
#SBATCH --open-mode=append
#
# shellcheck disable=SC2329 # do_now, traps and srun call what seems to be never called
set -euo pipefail

say() {
    printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" >&2
}

refuse() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# One node of the cluster, in the foreground of a step. Its folder is private, because Ray's own files are not.
node() {
    local folder code ray='' over='' pool=cpu
    trap 'over=1; [ -z "$ray" ] || kill -TERM "$ray" 2>/dev/null' TERM
    [ -z "${SLURM_GPUS_ON_NODE:-}" ] || pool=gpu
    folder=$(mktemp -d "/tmp/sweep-$SLURM_JOB_ID.XXXXXX")
    ray start "$@" --block --temp-dir="$folder/ray" --num-cpus="${SLURM_CPUS_PER_TASK:-$(nproc)}" \
        --labels="pool=$pool" --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0 \
        --object-store-memory="${SWEEP_OBJECT_STORE:-1073741824}" &
    ray=$!
    [ -z "$over" ] || kill -TERM "$ray"
    while :; do
        code=0
        wait "$ray" || code=$?
        kill -0 "$ray" 2>/dev/null || break
    done
    rm -rf "$folder"
    [ -n "$over" ] || return "$code"
}

# Runs one node in a step of its own on a machine of the job, so that a machine that fails takes no other along.
start_node() {
    local machine=$1
    shift
    # shellcheck disable=SC2016 # expanded by the shell on that machine
    srun --overlap --nodes=1 --ntasks=1 --nodelist="$machine" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --mem=0 \
        bash -c "$(declare -f node)"'; node "$@"' node "$@" &
    steps+=($!)
}

# Waits for a process of ours through signals, and returns its exit code.
attend() {
    local code again
    while :; do
        code=0
        wait "$1" || code=$?
        kill -0 "$1" 2>/dev/null && continue
        again=0
        wait "$1" 2>/dev/null || again=$?
        [ "$again" = 127 ] || code=$again # a signal came as it ended
        return "$code"
    done
}

# What runs in the foreground would hold up our traps. $doing is what a signal ends.
do_now() {
    local code=0
    "$@" &
    doing=$!
    [ -z "$stopped" ] || kill -TERM "$doing"
    attend "$doing" || code=$?
    doing=
    return "$code"
}

stop() {
    stopped=$1
    say "$2: stopping after the running epochs"
    [ -z "$doing" ] || kill -TERM "$doing" 2>/dev/null || true
}

# A signal to srun would kill the nodes at once. scancel sends one to all steps, and not to this script.
end_nodes() {
    local patience=200
    trap '' TERM INT USR1
    if [ ${#steps[@]} -gt 0 ]; then
        scancel --signal=TERM "$SLURM_JOB_ID" || true
        while [ "$patience" -gt 0 ] && kill -0 "${steps[@]}" 2>/dev/null; do
            sleep 0.2
            patience=$((patience - 1))
        done
        kill -TERM "${steps[@]}" 2>/dev/null || true
        wait
        steps=()
    fi
    rm -rf "$private"
}

await_head() {
    until ray health-check --address "$address" >/dev/null 2>&1; do
        kill -0 "${steps[0]}" 2>/dev/null || { say "the head of the cluster did not start"; return 1; }
        sleep 1
    done
}

await_nodes() {
    exec python - "$address" "${#machines[@]}" "${SWEEP_WAIT:-600}" <<'PYTHON'
import sys
import time

import ray

address, wanted, patience = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
ray.init(address, log_to_driver=False, logging_level="ERROR")
deadline = time.monotonic() + patience
while (there := sum(node["Alive"] for node in ray.nodes())) < wanted:
    if time.monotonic() > deadline:
        sys.exit(f"error: {there} of {wanted} nodes joined the cluster within {patience:.0f} s (SWEEP_WAIT)")
    time.sleep(1)
PYTHON
}

[ -n "${SLURM_JOB_ID:-}" ] || refuse "this script is for sbatch: sbatch $0 SPACE [options of run]"
command -v ray >/dev/null || refuse "there is no ray on PATH: activate the environment of the sweep, then call sbatch"
[ $# -gt 0 ] || refuse "no space: sbatch sweep.sh SPACE [options of run]"
for word in "$@"; do
    case $word in
        --name | --name=*) refuse "give the name in SWEEP_NAME, so that the run can be continued" ;;
        --runs | --runs=*) refuse "give the folder of the runs in SWEEP_RUNS, so that the run can be continued" ;;
        --address | --address=*) refuse "--address is this job's own cluster" ;;
    esac
done
name=${SWEEP_NAME:-sweep-$SLURM_JOB_ID}
runs=${SWEEP_RUNS:-runs}
mapfile -t machines < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# Other jobs may be on the same machines. All ports are below 32768, where the ports begin that are given to anybody.
port=$((20000 + SLURM_JOB_ID % 2500 * 5))
address=${machines[0]}:$port
doing='' stopped='' steps=()

# Whoever has the token may run code as you. It is this job's own, in a file that only you can read.
private=$(mktemp -d "${SWEEP_PRIVATE:-$HOME}/.sweep-$SLURM_JOB_ID.XXXXXX")
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32))' >"$private/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$private/token" RAY_USAGE_STATS_ENABLED=0
unset RAY_AUTH_TOKEN RAY_ADDRESS

trap end_nodes EXIT
trap 'stop requeue "the time is nearly over"' USR1
trap 'stop end "SIGTERM"' TERM INT
say "starting Ray on ${#machines[@]} nodes, its head on $address"
start_node "${machines[0]}" --head --port="$port" --dashboard-host=127.0.0.1 --dashboard-port=$((port + 1)) \
    --ray-client-server-port=$((port + 2)) --metrics-export-port=$((port + 3))
code=0
do_now await_head || code=$?
if [ "$code" = 0 ]; then
    for machine in "${machines[@]:1}"; do
        start_node "$machine" --address="$address" --metrics-export-port=$((port + 4))
    done
    do_now await_nodes || code=$?
fi
if [ "$code" = 0 ]; then
    say "all nodes are there"
    do_now python -m sweep run "$@" --name "$name" --runs "$runs" --address "$address" --resume || code=$?
fi
# 130: the sweep stopped as it was told to. A job without time for that would have one turn after the other for nothing.
if [ "$stopped" = requeue ] && [ "$code" = 130 ]; then
    end_nodes
    say "asking Slurm for another turn"
    scontrol requeue "$SLURM_JOB_ID"
elif [ "$stopped" = requeue ] && [ "$code" != 0 ]; then
    say "error: the sweep was not under way when the time was nearly over; give the job more --time"
fi
exit "$code"
