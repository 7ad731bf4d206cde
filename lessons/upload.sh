say "A server that stores files in a folder. Both sides show what crosses the wire."
serve upload "$scratch/uploads"

say "A file: four bytes, a header in JSON, the content. The answer comes in the same framing."
echo "hello, world" > "$scratch/hello.txt"
socketserver client upload --trace "$address" "$scratch/hello.txt"
settle

say "The name is taken now. The file that stands there stays."
socketserver client upload "$address" "$scratch/hello.txt" || true
settle

say "An upload that is cut: the first bytes of a larger file, and then the client is gone."
head -c 500000 /dev/zero > "$scratch/large"
if command -v python3 > /dev/null; then
    python3 - "${address%:*}" "${address##*:}" <<'PYTHON'
import json, socket, struct, sys
header = json.dumps({"file_size": 500000, "file_name": "large"}).encode()
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as connection:
    connection.sendall(struct.pack("<i", len(header)) + header + bytes(300000))
PYTHON
fi
settle
ls "$scratch/uploads"
say "No file 'large' is there: its bytes lie aside, in a hidden folder."
ls -l "$scratch/uploads/.socketserver-partial"

say "Whoever asks to resume is told where to go on."
socketserver client upload --trace --resume --no-digest "$address" "$scratch/large"
settle
cmp "$scratch/large" "$scratch/uploads/large" && echo "the files are equal"
