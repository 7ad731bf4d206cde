say "A server that answers datagrams in upper case, and loses the 1st, the 4th, the 7th ... Both sides show what crosses the wire."
serve ping --drop-every 3

say "No connection: each request stands for itself. Nobody tells the client about a loss, it only hears nothing in time."
socketserver client ping "$address" --count 4 --interval 200ms --wait 300ms --trace
settle
stop

say "A worse network: replies take 30 to 70 ms, some twice, some are overtaken. --split tells which way the lost ones went."
serve ping --delay 50ms --jitter 20ms --loss 25 --duplicate 20 --reorder 20 --seed 8 --split
socketserver client ping "$address" --count 12 --interval 50ms --wait 500ms --split
settle
