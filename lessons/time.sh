say "A server that speaks first: it tells the time, and closes. Both sides show what crosses the wire."
serve time

say "A client sends nothing. What it gets is the text, and then the end."
socketserver client time --trace "$address"
settle

say "How far is the server's clock from ours? Half the round trip tells how old the answer is."
socketserver client time --offset "$address"
settle
stop

say "The same by four bytes: seconds since 1900 (RFC 868)."
serve time --format rfc868
socketserver client time --trace "$address"
settle
stop

say "SNTP, by datagrams of 48 bytes. Four time stamps tell the way from the server's work."
serve time --sntp
socketserver client time --sntp --offset --trace "$address"
settle
