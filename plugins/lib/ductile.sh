# shellcheck shell=sh
# What a ductile plugin in shell needs: read the request, answer once. POSIX sh and awk.
#
#   #!/bin/sh
#   set -eu
#   . "$(dirname "$0")/../lib/ductile.sh"
#   ductile_read
#   case $ductile_command in
#       poll)
#           ductile_event feed.item "{\"title\": $(ductile_quote "$title")}" "$title"
#           ductile_ok '1 new item' ;;
#       *) ductile_unknown ;;
#   esac
#
#   ductile_read                        reads the request from stdin, sets ductile_command
#   ductile_get PATH [DEFAULT]          prints the text, number, true or false at a path such as config.url or
#                                       event.payload.items.0; DEFAULT, or nothing, if it is absent or null
#   ductile_json PATH [DEFAULT]         the same as JSON, as it was sent: texts in quotes, objects and lists whole
#   ductile_quote TEXT                  prints a text as JSON
#   ductile_log LEVEL TEXT              an entry of the job's log; debug, info, warn or error
#   ductile_event TYPE [JSON [KEY]]     an event with this payload, {} without one, and this dedupe key
#   ductile_state KEY JSON              replaces this key of the plugin's state
#   ductile_ok [RESULT]                 success, and what was done; protocol 2 requires it
#   ductile_fail TEXT                   failure, tried again
#   ductile_refuse TEXT                 failure, not tried again
#   ductile_misconfigured TEXT          the configuration is wrong: not tried again, exit code 78
#   ductile_unknown                     refuses a command that the plugin does not have
#
# The last five answer and exit. A script that ends without them has failed, and that is answered for it; if it sets a trap
# for EXIT of its own, ductile sees only the exit code. What is printed goes to stderr. All of them may be called in a loop at
# the end of a pipe. File descriptors 3, 4 and 5 are in use, and TMPDIR (or /tmp) must be writable.
#
# Keys are looked up as they are written, so one with a dot or an escape in it cannot be; $(...) takes line feeds from
# the end of a text; NUL and half surrogate pairs become U+FFFD. Numbers are never converted, so they stay exact.

ductile_empty='{}'

ductile_read() {
    # Only the answer may reach the real stdout. What it will say is kept in a file without a name, which
    # subshells can write to and no kill leaves behind.
    exec 3>&1 1>&2
    ductile_file=$(mktemp) || exit 1
    exec 4>>"$ductile_file" 5<"$ductile_file"
    rm -f "$ductile_file"
    trap ductile_ended EXIT
    ductile_request=$(cat)
    ductile_command=$(ductile_get command)
    [ -n "$ductile_command" ] || ductile_refuse 'the request on stdin must be a JSON object with a command'
}

ductile_get() {
    ductile_find text "$@"
}

ductile_json() {
    ductile_find json "$@"
}

ductile_quote() {
    printf '%s\n' "$1" | LC_ALL=C awk '
        BEGIN {
            for (i = 1; i < 256; i++) code[sprintf("%c", i)] = i
            escape[8] = "\\b"; escape[9] = "\\t"; escape[12] = "\\f"; escape[13] = "\\r"
            printf "\""
        }
        # The length of the UTF-8 character at i, 0 if there is none.
        function width(i,    c, d, n, k) {
            c = code[substr($0, i, 1)]
            d = code[substr($0, i + 1, 1)]
            if (c < 128) return 1
            n = c >= 194 && c < 224 ? 2 : c >= 224 && c < 240 ? 3 : c >= 240 && c < 245 ? 4 : 0
            if (c == 224 && d < 160 || c == 237 && d > 159 || c == 240 && d < 144 || c == 244 && d > 143) return 0
            for (k = 1; k < n; k++) {
                d = code[substr($0, i + k, 1)]
                if (d < 128 || d > 191) return 0
            }
            return n
        }
        NR > 1 { printf "\\n" }
        {
            odd = $0
            gsub(/[ -~]/, "", odd)
            if (odd == "" && !index($0, "\\") && !index($0, "\"")) {
                printf "%s", $0
                next
            }
            size = length($0)
            for (i = 1; i <= size; i += n ? n : 1) {
                c = substr($0, i, 1)
                n = width(i)
                if (n == 0) printf "\357\277\275"
                else if (n > 1) printf "%s", substr($0, i, n)
                else if (c == "\\" || c == "\"") printf "\\%s", c
                else if (code[c] >= 32) printf "%s", c
                else if (code[c] in escape) printf "%s", escape[code[c]]
                else printf "\\u%04x", code[c]
            }
        }
        END { printf "\"\n" }
    '
}

ductile_log() {
    printf 'log\t{"level": %s, "message": %s}\n' "$(ductile_quote "$1")" "$(ductile_quote "$2")" >&4
}

ductile_event() {
    ductile_more=
    [ -z "${3-}" ] || ductile_more=", \"dedupe_key\": $(ductile_quote "$3")"
    ductile_payload=$(ductile_line "${2-}")
    printf 'event\t{"type": %s, "payload": %s%s}\n' "$(ductile_quote "$1")" "${ductile_payload:-$ductile_empty}" "$ductile_more" >&4
}

ductile_state() {
    printf 'state\t%s\t%s\n' "$(ductile_quote "$1")" "$(ductile_line "$2")" >&4
}

ductile_ok() {
    if [ -n "${1-}" ]; then
        ductile_answer 0 "\"status\": \"ok\", \"result\": $(ductile_quote "$1")"
    fi
    [ "$(ductile_get protocol 1)" = 1 ] || ductile_refuse 'ductile_ok needs a text: protocol 2 requires a result'
    ductile_answer 0 '"status": "ok"'
}

ductile_fail() {
    ductile_answer 0 "\"status\": \"error\", \"error\": $(ductile_quote "$1")"
}

ductile_refuse() {
    ductile_answer 0 "\"status\": \"error\", \"error\": $(ductile_quote "$1"), \"retry\": false"
}

ductile_misconfigured() {
    ductile_answer 78 "\"status\": \"error\", \"error\": $(ductile_quote "$1"), \"retry\": false"
}

ductile_unknown() {
    ductile_refuse "unknown command $ductile_command"
}

# What follows is not for plugins.

# JSON on one line: between its tokens white space is free, and inside of texts there are neither tabs nor line feeds.
ductile_line() {
    printf '%s' "$1" | tr '\t\n\r' '   '
}

# ductile_answer CODE FIELDS: prints the response, and exits. If a subshell has answered already, that answer counts.
ductile_answer() {
    trap - EXIT
    printf 'answer\t%s\t%s\n' "$1" "$2" >&4
    ductile_code=0
    LC_ALL=C awk -F '\t' '
        function list(name, items, n, left, right,    i) {
            if (!n) return
            printf ", \"%s\": %s", name, left
            for (i = 1; i <= n; i++) printf "%s%s", (i > 1 ? ", " : ""), items[i]
            printf "%s", right
        }
        $1 == "answered" { code = $2; before = 1; exit }
        $1 == "log" { logs[++log_count] = $2 }
        $1 == "event" { events[++event_count] = $2 }
        $1 == "state" {
            if (!($2 in place)) place[$2] = ++state_count
            states[place[$2]] = $2 ": " $3
        }
        $1 == "answer" { code = $2; fields = $3 }
        END {
            if (!before) {
                printf "{%s", fields
                if (fields ~ /^"status": "ok"/) {
                    list("events", events, event_count, "[", "]")
                    list("state_updates", states, state_count, "{", "}")
                }
                list("logs", logs, log_count, "[", "]")
                printf "}\n"
            }
            exit code
        }
    ' <&5 >&3 || ductile_code=$?
    printf 'answered\t%s\n' "$ductile_code" >&4
    exit "$ductile_code"
}

# The script ended without an answer.
ductile_ended() {
    ductile_code=$?
    [ "$ductile_code" != 0 ] || ductile_code=1
    ductile_answer "$ductile_code" "\"status\": \"error\", \"error\": \"the script ended without an answer, exit code $ductile_code\""
}

# ductile_find text|json PATH [DEFAULT]: one pass over the request. Records are what stands between double quotes, so they
# alternate between outside and inside of a text. What is found is printed as it comes: joining it would take quadratic time.
ductile_find() {
    ductile_status=0
    printf '%s' "$ductile_request" | LC_ALL=C DUCTILE_PATH=$2 awk -v as="$1" '
        BEGIN {
            RS = "\""
            want = ENVIRON["DUCTILE_PATH"]
            value_next = 1
            status = 3
        }
        function path() {
            return depth == 0 ? "" : above[depth] (is_list[depth] ? place[depth] : key[depth])
        }
        # A value begins: is it the wanted one?
        function begin(first) {
            if (!value_next) return
            value_next = 0
            if (path() != want) return
            # null is as good as absent.
            if (first == "n") { over = 1; return }
            taking = depth + 1
            status = 0
        }
        function out(text) { if (taking) printf "%s", text }
        function end_scalar() { if (taking == depth + 1) { taking = 0; over = 1 } }
        function utf8(n) {
            if (n == 0 || n >= 55296 && n < 57344) n = 65533
            if (n < 128) return sprintf("%c", n)
            if (n < 2048) return sprintf("%c%c", 192 + int(n / 64), 128 + n % 64)
            if (n < 65536) return sprintf("%c%c%c", 224 + int(n / 4096), 128 + int(n / 64) % 64, 128 + n % 64)
            return sprintf("%c%c%c%c", 240 + int(n / 262144), 128 + int(n / 4096) % 64, 128 + int(n / 64) % 64, 128 + n % 64)
        }
        function hex(text,    i, n) {
            n = 0
            for (i = 1; i <= 4; i++) n = n * 16 + index("0123456789abcdef", tolower(substr(text, i, 1))) - 1
            return n
        }
        function print_decoded(text,    at, c, n, low) {
            while (at = index(text, "\\")) {
                printf "%s", substr(text, 1, at - 1)
                c = substr(text, at + 1, 1)
                if (c != "u") {
                    n = index("bfnrt", c)
                    printf "%s", n ? substr("\b\f\n\r\t", n, 1) : c
                    text = substr(text, at + 2)
                    continue
                }
                n = hex(substr(text, at + 2, 4))
                text = substr(text, at + 6)
                if (n >= 55296 && n < 56320 && substr(text, 1, 2) == "\\u") {
                    low = hex(substr(text, 3, 4))
                    if (low >= 56320 && low < 57344) {
                        n = 65536 + (n - 55296) * 1024 + low - 56320
                        text = substr(text, 7)
                    }
                }
                printf "%s", utf8(n)
            }
            printf "%s", text
        }
        over { next }
        in_text {
            quoted = match($0, /\\+$/) && RLENGTH % 2  # the quote that ended this record was escaped
            if (decoding) print_decoded(quoted ? substr($0, 1, length($0) - 1) "\\\"" : $0)
            else if (taking) printf "%s%s", $0, quoted ? "\"" : ""
            else if (is_key) key[depth] = key[depth] $0 (quoted ? "\"" : "")
            if (quoted) next
            in_text = 0
            if (!decoding) out("\"")
            if (!is_key) end_scalar()
            next
        }
        {
            size = length($0)
            for (i = 1; i <= size && !over; i++) {
                c = substr($0, i, 1)
                if (c == " " || c == "\t" || c == "\r" || c == "\n") {
                    end_scalar()
                    out(c)
                } else if (c == "{" || c == "[") {
                    begin(c)
                    out(c)
                    inside = depth ? path() "." : ""
                    above[++depth] = inside
                    is_list[depth] = c == "["
                    place[depth] = 0
                    value_next = is_list[depth]
                } else if (c == "}" || c == "]") {
                    end_scalar()
                    depth--
                    out(c)
                    end_scalar()
                    value_next = 0
                } else if (c == ",") {
                    end_scalar()
                    out(c)
                    place[depth]++
                    value_next = is_list[depth]
                } else if (c == ":") {
                    out(c)
                    value_next = 1
                } else {
                    begin(c)
                    out(c)
                }
            }
            is_key = depth && !is_list[depth] && !value_next
            if (is_key) key[depth] = ""
            begin("\"")
            decoding = as == "text" && taking == depth + 1 && !is_key
            if (!decoding) out("\"")
            in_text = 1
        }
        END { exit status }
    ' || ductile_status=$?
    [ "$ductile_status" = 0 ] || printf '%s' "${3-}"
}
