say "A server that talks only to those who hold a key. Both sides show what crosses the wire."
echo "lesson:open sesame" > "$scratch/keys"
serve auth --key-file "$scratch/keys"

say "The server sends 32 random bytes. The client answers with their HMAC under its key, and may go on."
echo "hello, world" | socketserver client auth --trace --key-file "$scratch/keys" "$address"
settle

say "Once more: another challenge, so another answer. To have listened in helps nobody."
echo "it is me again" | socketserver client auth --trace --key-file "$scratch/keys" "$address"
settle

say "A wrong key: the answer looks as good as any, and the server closes without a byte."
echo "open barley" > "$scratch/wrong"
echo "let me in" | socketserver client auth --trace --key-file "$scratch/wrong" "$address" || true
settle

say "The key is exchanged while the server runs: SIGHUP has it read the file again."
echo "lesson:a new key" > "$scratch/keys"
kill -HUP "$server"
settle
echo "with the new key" | socketserver client auth --key-file "$scratch/keys" "$address"
settle
