#!/bin/sh
echo "$DUCTILE_JOB_ID" >> "$SOAK/journal"
case $(cat) in
    *'"command":"init"'*) echo '{"status": "ok"}' ;;
    *) echo '{"status": "ok", "events": [{"type": "hit"}]}' ;;
esac
