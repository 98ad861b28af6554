# The program for hooks that git starts for every reference of a push. What is rare goes to the helper, which is slow.
#
# Not run from here: `directory` writes its text, with a first line and the place of the helper, to where git looks.
# Everything but the start itself happens inside the shell; another process would cost more than all of this.
# How it speaks with the node: `pipes`.
hook=${0##*/}
helper=@HELPERS@/$hook
[ -n "$PRAEFECT_HOOK_ASK" ] || exec "$helper" "$@"

words="$2 $3 $1"
lines=
if [ "$hook" = reference-transaction ]; then
    words=$1
    case $1 in
    prepared | committed) ;;
    *) exit 0 ;;
    esac
    count=0
    while IFS= read -r line; do
        lines="$lines$line
"
        count=$((count + 1))
        if [ "$count" -gt 8 ]; then
            { printf '%s' "$lines" && exec cat; } | "$helper" "$@"
            exit
        fi
    done
fi

printf '%s' "$$ $hook $words
$lines
" >"$PRAEFECT_HOOK_ASK"
IFS=' ' read -r asked answer <"$PRAEFECT_HOOK_ANSWER"
[ "$asked" = "$$" ] || answer=refused
case $answer in
agreed) exit 0 ;;
speaks) exec "$helper" "$@" ;;
esac
printf 'error executing git hook\n' >&2
exit 1
