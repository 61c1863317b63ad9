# shellcheck shell=bash
# Sourced, not run: a server in the background whose addresses are learnt from its log.
#
#   server_start BINARIES LOG FLAG...   sets server_pid, server_address and server_admin
#   server_stop                         SIGTERM, waits, gives its exit status

server_pid='' server_address='' server_admin=''

# Log lines are objects: {"time":…,"level":"info","message":"listening",…,"address":"127.0.0.1:41234"}.
_server_log_value() {
  sed -n "s/.*\"message\":\"$2\".*\"$3\":\"\([^\"]*\)\".*/\1/p" "$1" | head -n 1
}

server_start() {
  local binaries=$1 log=$2 end=$((SECONDS + 30))
  shift 2
  # The background process opens its log when it likes.
  : >"$log"
  "$binaries/needletail-server" --log-format json "$@" >"$log" 2>&1 </dev/null &
  server_pid=$!
  server_address='' server_admin=''
  while [[ -z $server_address || -z $server_admin ]]; do
    if ! kill -0 "$server_pid" 2>/dev/null || ((SECONDS > end)); then
      echo "the server did not start:" >&2
      tail -n 20 "$log" >&2
      return 1
    fi
    sleep 0.02
    server_address=$(_server_log_value "$log" listening address)
    server_admin=$(_server_log_value "$log" 'admin listening' address)
  done
}

server_stop() {
  local status=0
  [[ -n $server_pid ]] || return 0
  kill -TERM "$server_pid" 2>/dev/null || true
  wait "$server_pid" || status=$?
  server_pid=''
  return "$status"
}
