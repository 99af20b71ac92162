#!/bin/sh
# uv brings the package that garmin.py asks for at its top; without uv, python3 must have it.
if command -v uv >/dev/null 2>&1; then
    exec uv run --quiet --script garmin.py
fi
exec python3 garmin.py
