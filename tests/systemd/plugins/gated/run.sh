#!/bin/sh
if [ ! -e "$HOME/go" ]; then
    env -i setsid sleep 54321 >/dev/null 2>&1 </dev/null &
    echo x >"$HOME/started"
fi
while [ ! -e "$HOME/go" ]; do sleep 0.05; done
if [ -e "$HOME/big" ]; then
    printf '{"status": "ok", "state_updates": {"big": "%s"}}' "$(head -c 900000 /dev/zero | tr '\0' x)"
else
    echo '{"status": "ok"}'
fi
