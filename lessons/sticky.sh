say "Where does an answer end? A server runs commands; first its answers are raw: only the bytes."
serve exec --no-auth --framing raw

say "The server sends a long answer at once, and the client gets it in pieces. None of them says that it is the last: only the end does."
socketserver client exec --framing raw --trace "$address" seq 3000 > "$scratch/numbers"
settle
stop

say "struct: four bytes say how long the answer is. The client reads so many, and the connection goes on."
serve exec --no-auth --framing struct
socketserver client exec --framing struct --trace "$address" echo hello
settle
stop

say "ack: the length is decimal text, whose end nobody can see. So the server waits until the client says that it has it."
serve exec --no-auth --framing ack
socketserver client exec --framing ack --trace "$address" echo hello
settle
stop

say "json: a head in a frame of its own has room for more, here the exit code and what is standard error."
serve exec --no-auth --framing json
socketserver client exec --trace "$address" sh -c 'echo out; echo problem >&2; exit 3' || echo "exit code $?"
settle
stop

say "The lesson's example frames each answer as its request says. Two raw answers stick together; the third tells its length."
example 127.0.0.1:0
printf 'raw one\nraw two\njson three\n' | socketserver client echo --trace "$address"
settle
