# Four clients at once, each of whom the handler thinks about for 0.3 s.
four_clients() {
    begun=$(date +%s%N)
    clients=
    for client in 1 2 3 4; do
        echo "client $client" | "$bin/socketserver" client echo "$address" > /dev/null &
        clients="$clients $!"
    done
    for client in $clients; do wait "$client"; done
    took=$((($(date +%s%N) - begun) / 1000000))
    printf '%s%s: four clients took %s ms%s\n' "$bold" "$1" "$took" "$plain"
}

say "One handler, four steps: setup, handle, finish, close. The handler thinks for 0.3 s about each client."
say "Sequential (Python's TCPServer): one client after the other."
example sequential 127.0.0.1:0
four_clients sequential
settle
stop

say "A thread for each (Python's ThreadingMixIn): all at once."
example threads 127.0.0.1:0
four_clients threads
settle
stop

say "A process for each (Python's ForkingMixIn): all at once, and each in a memory of its own."
example processes 127.0.0.1:0
four_clients processes
settle
stop

say "The pool, our default: a few threads that grow when handlers block. Idle clients would hold none of them."
example pool 127.0.0.1:0
four_clients pool
settle

say "The same with a client that shows what crosses the wire."
echo "one more" | socketserver client echo --trace "$address"
settle
