#!/usr/bin/env bash
# curl against the yardstick on 127.0.0.1:$PORT. Each check is a sentence, what should be, and what is.
set -euo pipefail
site=http://127.0.0.1:$PORT
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
# No file of the user's, no proxy, and an end in any case.
fetch() { curl -q -sS --no-progress-meter --noproxy '*' --max-time 30 "$@"; }

failed=0
check() {
  if [ "$2" = "$3" ]; then
    echo "ok      $1"
  else
    printf 'FAILED  %s\n        should be: %s\n        is:        %s\n' "$1" "$2" "$3"
    failed=1
  fi
}
sum() { sha256sum | cut -d' ' -f1; }

check "a text is served" \
  "Hello, World! 200 text/plain" "$(fetch -w ' %{http_code} %{content_type}' "$site/plaintext")"
check "JSON is served" '{"message":"Hello, World!"}' "$(fetch "$site/json")"
check "one connection serves many requests" \
  "1 0 0 0 " "$(fetch -o /dev/null -w '%{num_connects} ' "$site/plaintext" -o /dev/null "$site/json" -o /dev/null "$site/204" \
    -o /dev/null "$site/chunked")"
check "answers without a body end where they end, and the connection goes on" \
  "204 0 1, 304 0 0, 200 13 0, " "$(fetch -o /dev/null -w '%{http_code} %{size_download} %{num_connects}, ' "$site/204" \
    -o /dev/null "$site/304" -o /dev/null "$site/plaintext")"
check "HEAD says the length of what GET sends" \
  "$(fetch "$site/" | wc -c | tr -d ' ')" "$(fetch -I "$site/" | tr -d '\r' | sed -n 's/^[Cc]ontent-[Ll]ength: //p')"
check "HEAD has no body and leaves the connection usable" \
  "200 0 1, 200 0 0, " "$(fetch -I -o /dev/null -w '%{http_code} %{size_download} %{num_connects}, ' "$site/" -o /dev/null \
    "$site/chunked")"
check "an answer of unknown length comes in chunks" \
  "$(seq -f 'part%g' 0 4) chunked" "$(fetch -D "$files/head" "$site/chunked") $(tr -d '\r' <"$files/head" |
    sed -n 's/^[Tt]ransfer-[Ee]ncoding: //p')"
check "ten megabytes arrive whole" 10000000 "$(fetch "$site/bytes/10000000" | tr -d -c x | wc -c | tr -d ' ')"

head -c 33554432 /dev/urandom >"$files/large"
large=$(sum <"$files/large")
check "32 MiB come back from /echo/stream as they were" "$large" "$(fetch --data-binary "@$files/large" "$site/echo/stream" | sum)"
check "32 MiB in chunks as well" \
  "$large" "$(fetch -H 'Transfer-Encoding: chunked' -H 'Expect:' --data-binary "@$files/large" "$site/echo/stream" | sum)"
fetch -v -H 'Expect: 100-continue' --expect100-timeout 20 --data-binary "@$files/large" "$site/echo/stream" \
  >"$files/echoed" 2>"$files/log"
check "who expects 100-continue is told to, and then heard" \
  "1 $large" "$(grep -c '^< HTTP/1.1 100' "$files/log") $(sum <"$files/echoed")"
check "who expects it from a route that is not there hears so without sending" \
  "404 0" "$(fetch -o /dev/null -w '%{http_code} %{size_upload}' -H 'Expect: 100-continue' --expect100-timeout 20 \
    --data-binary "@$files/large" "$site/nowhere")"
check "a body that is taken whole comes back" "1048576 $(head -c 1048576 "$files/large" | sum)" \
  "$(head -c 1048576 "$files/large" | fetch --data-binary @- "$site/echo" >"$files/echoed" && wc -c <"$files/echoed" | tr -d ' ') $(sum <"$files/echoed")"
check "and is 413 when it is larger than may be" \
  413 "$(fetch -o /dev/null -w '%{http_code}' -H 'Expect: 100-continue' --expect100-timeout 20 --data-binary "@$files/large" "$site/echo")"
check "an empty body is echoed" "200 0" "$(fetch -w '%{http_code} %{size_download}' -d '' "$site/echo")"

check "HTTP/1.0 gets its answer and the end of the connection" \
  "200 1, 200 1, " "$(fetch --http1.0 -o /dev/null -w '%{http_code} %{num_connects}, ' "$site/plaintext" -o /dev/null \
    "$site/plaintext")"
check "HTTP/1.0 gets no chunks" \
  "$(seq -f 'part%g' 0 4) 0" "$(fetch --http1.0 -D "$files/head" "$site/chunked") $(grep -ci '^transfer-encoding' "$files/head" ||
    true)"
check "who asks for the end of the connection gets it" \
  "1, 1, " "$(fetch -H 'Connection: close' -o /dev/null -w '%{num_connects}, ' "$site/plaintext" -o /dev/null "$site/plaintext")"
if curl -q --version | grep -q HTTP2; then
  check "an offer of HTTP/2 is answered in HTTP/1.1" \
    "200 1.1" "$(fetch --http2 -o /dev/null -w '%{http_code} %{http_version}' "$site/plaintext")"
fi

check "what is not there is 404" 404 "$(fetch -o /dev/null -w '%{http_code}' "$site/nowhere")"
check "a wrong method is 405 and learns the right ones" \
  "405 GET, HEAD, OPTIONS" "$(fetch -o /dev/null -D "$files/head" -w '%{http_code}' -X PUT "$site/plaintext") $(tr -d '\r' <"$files/head" |
    sed -n 's/^[Aa]llow: //p')"
check "a head too large is 431" \
  431 "$(fetch -o /dev/null -w '%{http_code}' -H "x-large: $(head -c 100000 /dev/zero | tr '\0' x)" "$site/plaintext")"
check "two lengths are 400" \
  400 "$(fetch -o /dev/null -w '%{http_code}' -H 'Content-Length: 3' -H 'Content-Length: 4' -d abc "$site/echo")"

mapfile -t sleepers < <(for _ in $(seq 50); do printf '%s\n' -o /dev/null "$site/sleep/500"; done)
began=$(date +%s%N)
check "fifty at once are all served" \
  50 "$(fetch -Z --parallel-immediate --parallel-max 50 -w '%{http_code}\n' "${sleepers[@]}" | grep -c '^200$')"
took_ms=$((($(date +%s%N) - began) / 1000000))
check "and do not wait for each other: less than 5 s, not 25" yes "$([ $took_ms -lt 5000 ] && echo yes || echo "$took_ms ms")"

exit $failed
