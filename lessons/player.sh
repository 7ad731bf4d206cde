#!/bin/sh
# Plays a lesson in this terminal: `make lesson-NAME`. A lesson is the list of steps in NAME.sh; here is what its steps
# are made of. Ctrl-C, or the end of the steps where nobody watches (no terminal), ends its servers gracefully.
# usage: player.sh NAME DIRECTORY-OF-BINARIES
set -eu

lessons=$(dirname "$0")
lesson=$1
bin=$2
scratch=$(mktemp -d)
servers=

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold= plain=; fi

# What the reader should know before the next step.
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# socketserver, with the folder of the binaries left out of what is shown.
socketserver() { printf '$ socketserver %s\n' "$*"; "$bin/socketserver" "$@"; }

# The lesson's own example.
example() { printf '$ cargo run --bin lesson-%s %s\n' "$lesson" "$*"; start "$bin/lesson-$lesson" "$@"; }

# serve NAME [OPTIONS]: a server on a free port that traces the wire; its address is then in $address.
serve() {
    printf '$ socketserver serve %s --trace\n' "$*"
    start "$bin/socketserver" serve "$@" --trace --bind 127.0.0.1:0
}

# Starts a server, and waits for its ready line.
start() {
    : > "$scratch/ready"
    "$@" > "$scratch/ready" &
    server=$!
    servers="$servers $server"
    tries=0
    until grep -q ' listening on ' "$scratch/ready"; do
        tries=$((tries + 1))
        if [ "$tries" -gt 200 ] || ! kill -0 "$server" 2> /dev/null; then
            echo "the server did not start" >&2
            exit 1
        fi
        sleep 0.05
    done
    cat "$scratch/ready"
    url=$(sed -n 's/.* listening on //p' "$scratch/ready" | head -n 1)
    address=${url#*://}
    address=${address%/}
}

# Gives the other side's last lines time to appear.
settle() { sleep 0.3; }

# Ends the server that was started last.
stop() {
    kill "$server" 2> /dev/null || true
    wait "$server" || true
}

# A Ctrl-C reaches the servers too, and a second signal would force them: only those who missed it are told.
finish() {
    status=$?
    trap '' INT TERM
    trap - EXIT
    if [ "${1-}" = interrupted ]; then
        status=0
        sleep 0.3
    fi
    for server in $servers; do
        if kill -0 "$server" 2> /dev/null; then stop; fi
    done
    rm -rf "$scratch"
    exit "$status"
}
trap 'finish interrupted' INT TERM
trap finish EXIT

[ -f "$lessons/$lesson.sh" ] || { echo "unknown lesson $lesson: 'make lessons' lists the lessons" >&2; exit 2; }
. "$lessons/$lesson.sh"

say "The lesson's page: lessons/$lesson.md. Its example: cargo run --bin lesson-$lesson"
if [ -t 0 ] && [ -t 1 ] && kill -0 "$server" 2> /dev/null; then
    say "The server goes on at $url. Ctrl-C ends it."
    wait "$server" || true
fi
