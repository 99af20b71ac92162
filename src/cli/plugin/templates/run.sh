#!/bin/sh
# __NAME__: counts its runs and tells of each with an event. POSIX sh and awk.
#
# ductile starts this program once for each job: one JSON object, the request, is on stdin, and one JSON object, the
# response, must be printed on stdout. Print nothing else there; stderr is free.
#
# awk takes the values that are wanted out of the request as JSON literals, still escaped, and they are printed back as
# they came: no string is ever decoded or encoded, so any text survives. It reads the top two levels of the request and
# cannot look inside a string. A plugin that works with its input wants jq, or another language.
set -eu
LC_ALL=C
export LC_ALL

# Prints one line `path literal` for each wanted value. Records are what stands between double quotes, so they alternate
# between outside and inside a string; all of stdin is read, in one pass.
request=$(awk '
    BEGIN {
        RS = "\""
        split("command config.greeting state.runs state.handled event.type event.source", names, " ")
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

command='' greeting='"hello"' runs=0 handled=0 event_type='"?"' event_source='"?"'
while read -r path literal; do
    case $path in
        command) command=$literal ;;
        config.greeting) greeting=$literal ;;
        state.runs) runs=$literal ;;
        state.handled) handled=$literal ;;
        event.type) event_type=$literal ;;
        event.source) event_source=$literal ;;
    esac
done <<END
$request
END

# inner LITERAL: a string as it may stand inside another JSON string.
inner() {
    set -- "${1#\"}"
    printf '%s' "${1%\"}"
}

# next COUNT: one more; 1 when COUNT is no whole number that the shell can add to.
next() {
    case $1 in
        '' | 0* | *[!0-9]* | ????????????????*) echo 1 ;;
        *) echo $(($1 + 1)) ;;
    esac
}

# refuse TEXT: the configuration or the request is wrong, and trying again cannot help.
refuse() {
    printf '{"status": "error", "error": "%s", "retry": false}\n' "$1"
    exit 0
}

case $greeting in
    \"*\") ;;
    *) refuse 'config.greeting must be text' ;;
esac

case $command in
    '"poll"')
        # Look at the outside world and report what is new. All of it is committed together or not at all.
        runs=$(next "$runs")
        printf '{"status": "ok", "result": "run %s"' "$runs"
        printf ', "events": [{"type": "__NAME__.polled", "payload": {"greeting": %s, "run": %s}}]' "$greeting" "$runs"
        printf ', "state_updates": {"runs": %s}' "$runs"
        printf ', "logs": [{"level": "info", "message": %s}]}\n' "$greeting"
        ;;
    '"handle"')
        # Take one event. A job may run twice: `event_id` is the same in every attempt.
        printf '{"status": "ok", "result": "handled %s"' "$(inner "$event_type")"
        printf ', "state_updates": {"handled": %s}' "$(next "$handled")"
        printf ', "logs": [{"level": "info", "message": "%s: %s from %s"}]}\n' \
            "$(inner "$greeting")" "$(inner "$event_type")" "$(inner "$event_source")"
        ;;
    '"health"')
        # Say whether a job could work now. Changes nothing.
        printf '{"status": "ok", "result": "ready"}\n'
        ;;
    '')
        echo '__NAME__: the request on stdin is no JSON object with a command' >&2
        exit 1
        ;;
    *) refuse 'unknown command' ;;
esac
