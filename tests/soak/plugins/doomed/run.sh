#!/bin/sh
echo "$DUCTILE_JOB_ID" >> "$SOAK/journal"
echo no >&2
exit 1
