#!/bin/sh
# One streamed answer with curl.   examples/chat.sh "Why is the sky blue?" [http://127.0.0.1:8000]
url=${2:-http://127.0.0.1:8000}
question=$(printf '%s' "${1:?usage: examples/chat.sh QUESTION [URL]}" | python3 -c 'import json, sys; print(json.dumps(sys.stdin.read()))')
model=$(curl -fsS "$url/v1/models" | python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])')
exec curl -N -fsS "$url/v1/chat/completions" -H 'Content-Type: application/json' \
  -d "{\"model\": \"$model\", \"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": $question}]}"
