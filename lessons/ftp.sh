# The server writes its trace to this file. Each step shows the lines since the last step.
wire=$scratch/wire
shown=0

# Shows the commands and replies since the last call. With `short`, leaves out logins and digests.
# For a data connection, shows only the number of bytes. A connection is a control connection if
# the server has sent the reply 220 on it.
show_wire() {
    settle
    awk -v shown="$shown" -v short="${1-}" '
        { port = $3 == "==" && $4 == "connection" ? $6 : $4; sub(/.*:/, "", port) }
        NR == FNR { if ($3 == "->" && / "220 /) control[port] = 1; next }
        FNR <= shown || $2 != "server" { next }
        { kind = control[port] ? "control" : "data   " }
        $3 == "==" { text = $4 == "connection" ? "connected" : "closed" }
        !control[port] && $3 != "==" { if ($5 + 0 > 0) { bytes[port] += $5; way[port] = $3 }; next }
        !control[port] && text == "connected" { bytes[port] = 0; way[port] = "==" }
        !control[port] && text == "closed" { print kind, port, way[port], bytes[port], "bytes" }
        $3 != "==" { text = $5 == "end" ? "end" : $0; sub(/^[^"]*"/, "", text) }
        $3 != "==" { sub(/(\\r\\n)?"[^"]*$/, "", text); gsub(/\\"/, "\"", text) }
        short && text ~ /^(USER|PASS|FEAT|OPTS|TYPE|HASH|MFMT|QUIT|end)/ { next }
        short && text ~ /^(200|211|213.*[-=]|220|221|230|331)/ { next }
        { print kind, port, $3, substr(text, 1, 60) }
    ' "$wire" "$wire" >&2
    shown=$(wc -l < "$wire")
}

# client USER COMMAND PATH [LOCAL]: runs the FTP client. The password of each user is the name.
client() {
    begin "$@"
    wait "$client"
}

# Like client, but does not wait for its end. $client is the id of its process.
begin() {
    name=$1 command=$2 to="ftp://$1@$address/$3"
    shift 3
    printf '$ socketserver client ftp %s %s%s\n' "$command" "$to" "${*:+ $*}"
    SOCKETSERVER_PASSWORD=$name "$bin/socketserver" client ftp "$command" "$to" "$@" &
    client=$!
}

# Waits until the server has received a command, and then for some of the file.
until_seen() {
    until grep -q "$1" "$wire"; do sleep 0.05; done
    sleep 0.4
}

add_user() {
    socketserver users add --accounts "$scratch/users" --rights "$@"
}

say "Ada has all rights, bob may add files, eve and all other users may only read."
echo ada | add_user lrwd ada --password-stdin
echo bob | add_user lrw bob --password-stdin
echo eve | add_user lr eve --password-stdin
add_user lr anonymous
mkdir "$scratch/files"
serve ftp "$scratch/files" --accounts "$scratch/users" --rate-limit 4MB \
    --transfer-log "$scratch/log" 2> "$wire"

say "Ada stores a file. Commands cross the control connection, the file crosses a data connection: EPSV asks for a port, and the client connects to it."
echo "hello, world" > "$scratch/hello.txt"
client ada put hello.txt "$scratch/hello.txt"
show_wire

say "Everybody may read the file. curl shows what the client sends (>), what it receives (<), and where it connects to (*)."
if command -v curl > /dev/null; then
    printf '$ curl --verbose %shello.txt\n' "$url"
    curl --silent --show-error --verbose "${url}hello.txt" 2>&1 | grep -a '^[<>h]\|^\*.* port ' | tr -d '\r'
else
    client anonymous get hello.txt "$scratch/copy.txt"
fi
show_wire short

say "Eve may not remove the file: the reply is 550."
client eve rm hello.txt || true
show_wire short

say "Ada stores 8 MB, and ends the client with Ctrl-C during the transfer. The folder does not show the incomplete file."
head -c 8000000 /dev/zero > "$scratch/large"
begin ada put large "$scratch/large"
until_seen "STOR large"
kill -INT "$client" || true
wait "$client" || true
ls "$scratch/files"
show_wire short

say "Ada resumes the upload: SIZE returns the number of bytes that the server has, REST sets the offset of the next byte."
client ada put large "$scratch/large" --resume
cmp "$scratch/large" "$scratch/files/large" && echo "the files are equal"
show_wire short

say "Twenty clients at the same time: each stores a file. Then eve lists all of them."
clients=
for number in 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20; do
    case $number in *[02468]) name=ada ;; *) name=bob ;; esac
    head -c "$number$number" /dev/zero > "$scratch/$number"
    begin "$name" put "$number" "$scratch/$number" > /dev/null 2>&1
    clients="$clients $client"
done
for client in $clients; do wait "$client"; done
settle
awk -v shown="$shown" 'FNR > shown && $2 == "server" && $3 == "==" {
    if ($4 == "connection") { all++; if (++open > max) max = open } else open--
} END { printf "%d connections, up to %d at the same time\n", all, max }' "$wire" >&2
client eve ls ""
settle
shown=$(wc -l < "$wire")

say "The transfer log has a line for each transfer. The last line, and the number of transfers of each user:"
tail -n 1 "$scratch/log"
sed 's/.*"complete":\([a-z]*\),.*"user":"\([^"]*\)".*/\2, complete: \1/' "$scratch/log" | sort | uniq -c

say "Ctrl-C while eve reads the large file: the server accepts no new connection, and exits when the transfer is complete."
begin eve get large "$scratch/copy" --no-digest
until_seen "RETR large"
kill -INT "$server"
wait "$client"
wait "$server" && echo "the server's exit code is 0"
cmp "$scratch/large" "$scratch/copy" && echo "the files are equal"
show_wire short

say "The lesson's example is a small FTP server. It lets everybody read the folder www."
example 127.0.0.1:0
socketserver client ftp get --trace "${url}HelloWorld.html" "$scratch/page.html" 2> "$scratch/trace"
cat "$scratch/trace" >&2
