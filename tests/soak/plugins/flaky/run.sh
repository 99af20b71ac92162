#!/bin/sh
echo "$DUCTILE_JOB_ID" >> "$SOAK/journal"
mark="$SOAK/marks/$DUCTILE_JOB_ID"
if ! [ -e "$mark" ]; then
    : > "$mark"
    echo '{"status": "error", "error": "not yet"}'
    exit
fi
rm "$mark"
echo '{"status": "ok", "events": [{"type": "hit"}, {"type": "hit"}]}'
