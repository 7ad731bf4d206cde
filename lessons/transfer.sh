say "A server that sends one file, as JSON, to whoever connects. Both sides show what crosses the wire."
serve transfer www/HelloWorld.html

say "A client says nothing and reads until the object is whole. Then the file gets its name."
socketserver client transfer --trace "$address" -o "$scratch"
settle

say "The same bytes as before?"
cmp www/HelloWorld.html "$scratch/HelloWorld.html" && echo "the files are equal"

say "Once more: a file that is there already stays."
socketserver client transfer "$address" -o "$scratch" || true
settle
