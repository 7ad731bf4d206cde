say "A web server for the folder www. It shows what crosses the wire."
serve http www

say "A client asks for a page, and for one that is not there."
if command -v curl > /dev/null; then
    for page in HelloWorld.html no-such-page; do
        printf '$ curl --include %s%s\n' "$url" "$page"
        curl --silent --include "$url$page" | head -n 12
        echo
    done
else
    say "curl is missing: open ${url}HelloWorld.html in your browser."
fi
settle

say "Now in your browser: ${url}HelloWorld.html"
