#!/bin/sh
# echo: the smallest complete ductile plugin, in POSIX sh and awk, with ../lib/ductile.sh.
#
# Configuration:
#   message   what it says; text, a number or a boolean; default "hello"
#   mode      ""              answer properly (default)
#             error           answer `status: error`
#             hang            sleep for an hour, far beyond any timeout
#             protocol_error  print something that is no JSON
set -eu
. "$(dirname "$0")/../lib/ductile.sh"
ductile_read

# next COUNT: one more; 1 when COUNT is no whole number that the shell can add to.
next() {
    case $1 in
        '' | *[!0-9]* | ????????????????*) echo 1 ;;
        *) echo $(($1 + 1)) ;;
    esac
}

# As JSON, so that the event carries what was configured: a text, a number or a boolean.
message=$(ductile_json config.message '"hello"')
case $message in
    '{'* | '['*) ductile_refuse 'config.message must be text' ;;
esac
said=$(ductile_get config.message hello)

case $(ductile_get config.mode) in
    '') ;;
    error) ductile_fail "mode is error: $said" ;;
    hang)
        sleep 3600
        exit 1
        ;;
    protocol_error)
        # Around the library, which lets nothing but its answer reach stdout.
        echo 'mode is protocol_error: this is no JSON' >&3
        trap - EXIT
        exit 0
        ;;
    *) ductile_refuse 'config.mode must be empty, error, hang or protocol_error' ;;
esac

now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
case $ductile_command in
    poll)
        runs=$(next "$(ductile_get state.runs)")
        ductile_event echo "{\"message\": $message, \"run\": $runs}"
        ductile_state last_run "\"$now\""
        ductile_state runs "$runs"
        ductile_log info "$said"
        ductile_ok
        ;;
    handle)
        ductile_state last_event "\"$now\""
        ductile_state handled "$(next "$(ductile_get state.handled)")"
        ductile_log info "$said: event $(ductile_get event.type '?') from $(ductile_get event.source '?')"
        ductile_ok
        ;;
    health)
        ductile_log info "$said"
        ductile_ok
        ;;
    *) ductile_unknown ;;
esac
