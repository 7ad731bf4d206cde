say "A server that returns what it gets, in upper case. Both sides show what crosses the wire."
serve echo --upper

say "One client sends one line."
echo "hello, world" | socketserver client echo --trace "$address"
settle

say "Two clients at once: neither waits for the other."
echo "I am the first" | socketserver client echo "$address" &
first=$!
echo "I am the second" | socketserver client echo "$address"
wait "$first"
settle
