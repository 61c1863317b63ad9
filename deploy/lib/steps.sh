# shellcheck shell=bash
# Sourced, not run: output of a script that does one thing after the other, for people.

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  _bold=$'\e[1m' _dim=$'\e[2m' _red=$'\e[31m' _green=$'\e[32m' _plain=$'\e[0m'
else
  _bold='' _dim='' _red='' _green='' _plain=''
fi
_step=0

# step TITLE WHY: begins a numbered step and says what it is good for.
step() {
  _step=$((_step + 1))
  printf '\n%s%2d  %s%s  %s%d s%s\n    %s%s%s\n' "$_bold" "$_step" "$1" "$_plain" "$_dim" "$SECONDS" "$_plain" \
    "$_dim" "$2" "$_plain"
}

# say TEXT...: a line within a step.
say() { printf '    %s\n' "$*"; }

# good TEXT...: something was checked and is as it should be.
good() { printf '    %s✓%s %s\n' "$_green" "$_plain" "$*"; }

# fail TEXT...: says what is wrong and ends the script.
fail() {
  printf '    %s✗ %s%s\n' "$_red" "$*" "$_plain" >&2
  exit 1
}

# shown COMMAND...: runs a command and shows it as one would type it, its output below.
shown() {
  printf '    %s$ %s%s\n' "$_bold" "$*" "$_plain"
  "$@" 2>&1 | indented
}

# indented: standard input, moved to the right.
indented() { sed 's/^/    /'; }

# logged LOG COMMAND...: runs a command whose output is long: on a terminal its last line is shown
# and overwritten, elsewhere a line now and then; all of it goes to LOG, whose end is shown if the
# command fails.
logged() {
  local log=$1 line status=0 shown_at=-100
  shift
  while IFS= read -r line; do
    if [[ -t 1 ]]; then
      printf '\r\e[K    %s%.*s%s' "$_dim" $((${COLUMNS:-100} - 6)) "$line" "$_plain"
    elif ((SECONDS - shown_at >= 20)); then
      printf '    %.100s\n' "$line"
      shown_at=$SECONDS
    fi
  done < <("$@" 2>&1 | tee "$log"; echo "status ${PIPESTATUS[0]}" >"$log.status")
  [[ -t 1 ]] && printf '\r\e[K'
  # The process substitution has ended its output, not necessarily its last line.
  until [[ -s $log.status ]]; do sleep 0.01; done
  read -r _ status <"$log.status"
  rm -f "$log.status"
  if ((status != 0)); then
    tail -n 40 "$log" | indented >&2
    fail "failed with status $status: $* (all of its output: $log)"
  fi
}

# wait_for SECONDS WHAT COMMAND...: tries COMMAND until it succeeds; fails the script after SECONDS.
wait_for() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < end)) || fail "$what: it did not happen in time"
    sleep 0.05
  done
}
