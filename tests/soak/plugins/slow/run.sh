#!/bin/sh
echo "$DUCTILE_JOB_ID" >> "$SOAK/journal"
sleep 2
echo '{"status": "ok", "events": [{"type": "hit"}]}'
