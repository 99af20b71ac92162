#!/bin/sh
# echo: the smallest complete ductile plugin, in POSIX sh and awk.
#
# Configuration:
#   message   what it says; text, a number or a boolean; default "hello"
#   mode      ""              answer properly (default)
#             error           answer `status: error`
#             hang            sleep for an hour, far beyond any timeout
#             protocol_error  print something that is no JSON
#
# It takes the few values it needs out of the request as JSON literals, still escaped, and prints them
# back as they came. So it never decodes or encodes a string, and any message survives unchanged.
# The limits of that: it cannot look inside a string (`mode` is compared as it is written, so
# "\u0065rror" is not `error`), and it reads only the top two levels of the request. A plugin that
# works with its input wants a JSON parser: see ../example.
set -eu
LC_ALL=C
export LC_ALL

# Prints one line `path literal` for each wanted value. Records are what stands between double quotes,
# so they alternate between outside and inside a string; all of stdin is read, in one pass.
request=$(awk '
    BEGIN {
        RS = "\""
        split("command config.message config.mode state.runs state.handled event.type event.source", names, " ")
        for (n in names) wanted[names[n]] = 1
    }
    function path() { return depth == 1 ? key[1] : depth == 2 ? key[1] "." key[2] : "" }
    function take() {
        if (literal != "" && path() in wanted) print path(), literal
        literal = ""
    }
    in_string {
        if (keep) literal = literal $0
        if (match($0, /\\+$/) && RLENGTH % 2) {  # the quote that ended this record was escaped
            if (keep) literal = literal "\""
            next
        }
        if (keep) literal = literal "\""
        in_string = 0
        next
    }
    {
        size = length($0)
        for (i = 1; i <= size; i++) {
            c = substr($0, i, 1)
            if (c == "{" || c == "[") {
                literal = c  # a wanted value of the wrong shape is shown as its bracket
                take()
                key[++depth] = ""
                after_colon = 0
            } else if (c == "}" || c == "]") {
                take()
                depth--
            } else if (c == ",") {
                take()
                key[depth] = ""
                after_colon = 0
            } else if (c == ":") {
                key[depth] = substr(literal, 2, length(literal) - 2)
                literal = ""
                after_colon = 1
            } else if (depth <= 2 && c != " " && c != "\t" && c != "\r" && c != "\n") {
                literal = literal c
            }
        }
        keep = depth <= 2 && (!after_colon || path() in wanted)
        if (keep) literal = "\""
        in_string = 1
    }
')

command='' message='"hello"' mode='""' runs=0 handled=0 event_type='"?"' event_source='"?"'
while read -r path literal; do
    case $path in
        command) command=$literal ;;
        config.message) message=$literal ;;
        config.mode) mode=$literal ;;
        state.runs) runs=$literal ;;
        state.handled) handled=$literal ;;
        event.type) event_type=$literal ;;
        event.source) event_source=$literal ;;
    esac
done <<END
$request
END

# inner LITERAL: a literal as it may stand inside another JSON string.
inner() {
    case $1 in
        \"*\") set -- "${1#\"}" && printf '%s' "${1%\"}" ;;
        *) printf '%s' "$1" ;;
    esac
}

# next COUNT: one more; 1 when COUNT is no whole number that the shell can add to.
next() {
    case $1 in
        '' | *[!0-9]* | ????????????????*) echo 1 ;;
        *) echo $(($1 + 1)) ;;
    esac
}

# refuse TEXT: the configuration or the request is wrong, and trying again cannot help.
refuse() {
    printf '{"status": "error", "error": "%s", "retry": false}\n' "$1"
    exit 0
}

case $mode in
    '""' | null) ;;
    '"error"')
        printf '{"status": "error", "error": "mode is error: %s"}\n' "$(inner "$message")"
        exit 0
        ;;
    '"hang"')
        sleep 3600
        exit 1
        ;;
    '"protocol_error"')
        echo 'mode is protocol_error: this is no JSON'
        exit 0
        ;;
    *) refuse 'config.mode must be empty, error, hang or protocol_error' ;;
esac
case $message in
    null) message='"hello"' ;;
    '{' | '[') refuse 'config.message must be text' ;;
esac

said=$(inner "$message")
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
case $command in
    '"poll"')
        runs=$(next "$runs")
        printf '{"status": "ok"'
        printf ', "events": [{"type": "echo", "payload": {"message": %s, "run": %s}}]' "$message" "$runs"
        printf ', "state_updates": {"last_run": "%s", "runs": %s}' "$now" "$runs"
        printf ', "logs": [{"level": "info", "message": "%s"}]}\n' "$said"
        ;;
    '"handle"')
        handled=$(next "$handled")
        printf '{"status": "ok"'
        printf ', "state_updates": {"last_event": "%s", "handled": %s}' "$now" "$handled"
        printf ', "logs": [{"level": "info", "message": "%s: event %s from %s"}]}\n' \
            "$said" "$(inner "$event_type")" "$(inner "$event_source")"
        ;;
    '"health"')
        printf '{"status": "ok", "logs": [{"level": "info", "message": "%s"}]}\n' "$said"
        ;;
    '')
        echo 'echo: the request on stdin is no JSON object with a command' >&2
        exit 1
        ;;
    *) refuse 'unknown command' ;;
esac
