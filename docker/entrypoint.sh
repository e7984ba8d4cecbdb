#!/bin/sh
# Entry command of the image.
#
#   head [option of `ray start` ...]     the head of a Ray cluster, in the foreground
#   worker [option of `ray start` ...]   a node of the cluster at $SWEEP_HEAD, in the foreground
#   health                               exit code 0: the Ray node of this container is alive and takes our token
#   anything else                        python -m sweep with these arguments
set -eu

refuse() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

# Whoever reaches the ports of a Ray cluster without authentication can run any code on all of its nodes. So no node
# starts here without a token, however the container was started. A file, not RAY_AUTH_TOKEN: `docker inspect` shows
# the environment, and every process that Ray starts inherits it.
require_token() {
    [ "${RAY_AUTH_MODE:-}" = token ] ||
        refuse "RAY_AUTH_MODE is '${RAY_AUTH_MODE:-}'; a Ray node needs 'token'"
    [ -z "${RAY_AUTH_TOKEN:-}" ] ||
        refuse "RAY_AUTH_TOKEN is set; put the token into a file and name it in RAY_AUTH_TOKEN_PATH instead"
    [ -n "${RAY_AUTH_TOKEN_PATH:-}" ] ||
        refuse "RAY_AUTH_TOKEN_PATH is not set; it must name a file with the cluster's token"
    [ -f "$RAY_AUTH_TOKEN_PATH" ] ||
        refuse "RAY_AUTH_TOKEN_PATH names $RAY_AUTH_TOKEN_PATH, which is not a file; mount the token there"
    [ -r "$RAY_AUTH_TOKEN_PATH" ] ||
        refuse "$RAY_AUTH_TOKEN_PATH cannot be read by uid $(id -u); make the file readable, its folder private"
    [ "$(tr -d '[:space:]' <"$RAY_AUTH_TOKEN_PATH" | wc -c)" -ge 32 ] ||
        refuse "$RAY_AUTH_TOKEN_PATH holds fewer than 32 characters; a token must not be guessable"
}

# Prints the value of --address among the arguments of a sweep command; nothing where there is none.
address_among() {
    found=
    while [ $# -gt 0 ]; do
        case $1 in
            --address) found=${2:-} ;;
            --address=*) found=${1#--address=} ;;
        esac
        shift
    done
    printf '%s' "$found"
}

# A Ray driver can only talk to a cluster through a node on its own machine, and a container is a machine to Ray. So a
# driver container becomes a node first: one without cores, on which no trial is ever placed.
join() {
    require_token
    printf 'joining the Ray cluster at %s ...\n' "$1" >&2
    log=$(mktemp)
    # shellcheck disable=SC2086 # NODE_OPTIONS is a list of options
    timeout 60 ray start --address="$1" --num-cpus=0 --num-gpus=0 $NODE_OPTIONS >"$log" 2>&1 || {
        cat "$log" >&2
        refuse "cannot join the Ray cluster at $1"
    }
    rm -f "$log"
}

# The first line asks the head with this container's token (a head that is gone, Ray itself would ask for 40 seconds).
# The second asks the agent of this node for its raylet.
health() {
    timeout 10 ray health-check >/dev/null
    python -c "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)" \
        "http://127.0.0.1:$AGENT_PORT/api/local_raylet_healthz"
}

# All nodes show their metrics at one port, so that a Prometheus is told once. The object store (bytes) must fit into
# /dev/shm, or Ray falls back to files on the disk; Ray's own choice, 30 % of the machine's memory, seldom fits.
AGENT_PORT=${SWEEP_AGENT_PORT:-52365}
NODE_OPTIONS="--metrics-export-port=8080 --dashboard-agent-listen-port=$AGENT_PORT
    --object-store-memory=${SWEEP_OBJECT_STORE:-1073741824}"

case ${1:-} in
    head)
        shift
        require_token
        # shellcheck disable=SC2086
        exec ray start --head --block --port=6379 --dashboard-host=0.0.0.0 $NODE_OPTIONS "$@"
        ;;
    worker)
        shift
        require_token
        # shellcheck disable=SC2086
        exec ray start --address="${SWEEP_HEAD:-head:6379}" --block $NODE_OPTIONS "$@"
        ;;
    health)
        health
        ;;
    *)
        address=$(address_among "$@")
        case ${1:-} in
            run | resume | evaluate | collect) address=${address:-${RAY_ADDRESS:-}} ;;
        esac
        case $address in
            '' | auto | local) ;;
            *) join "$address" ;;
        esac
        exec python -m sweep "$@"
        ;;
esac
