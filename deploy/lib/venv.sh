# shellcheck shell=bash
# Sourced, not run: Python virtual environments, made once and shared.
#
#   python=$(needletail_venv NAME PACKAGE...)
#
# Prints the path of the python of a virtual environment that has PACKAGE..., which are what
# `pip install` takes: names, name==version, or directories. The environment lives in
# ${XDG_CACHE_HOME:-$HOME/.cache}/needletail/venv/NAME-HASH, where the hash is over the list, the
# contents of directories in it and the Python that made it: another list is another environment.
# Quiet when all goes well; safe to call from several scripts at once. PYTHON chooses another
# python3 than the one on PATH.

# shellcheck source=deploy/lib/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

needletail_venv() {
  local name=$1
  shift
  local python=${PYTHON:-python3} cache hash directory
  cache="${XDG_CACHE_HOME:-$HOME/.cache}/needletail/venv"
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    # shellcheck disable=SC2119 # no packages besides its own
    needletail_packages >&2 || return 1
    if ! "$python" -c 'import ensurepip, venv'; then
      echo "needletail: $python cannot make virtual environments" >&2
      return 1
    fi
  fi
  mkdir -p "$cache" || return 1
  hash=$(_needletail_venv_hash "$python" "$@") || return 1
  directory="$cache/$name-$hash"

  # The holder of the lock makes the environment; all other callers wait and then find it complete.
  (
    exec 9>"$directory.lock"
    flock 9
    if [[ ! -e $directory/.complete ]]; then
      rm -rf "$directory"
      log="$directory.log"
      if ! { "$python" -m venv "$directory" \
        && "$directory/bin/python" -m pip install -q --disable-pip-version-check "$@"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "needletail: could not make the Python environment '$name' with: $*" >&2
        rm -rf "$directory" "$log"
        exit 1
      fi
      rm -f "$log"
    fi
    touch "$directory/.complete"
  ) || return 1

  # Every change of a directory in the list makes a new environment: those that nobody has asked
  # for in a week go.
  find "$cache" -mindepth 2 -maxdepth 2 -name .complete -mtime +7 -printf '%h\n' 2>/dev/null \
    | while IFS= read -r old; do rm -rf "$old" "$old.lock"; done
  echo "$directory/bin/python"
}

_needletail_venv_hash() {
  local python=$1 package
  shift
  {
    "$python" -c 'import sys, sysconfig; print(sys.version, sys.base_prefix, sysconfig.get_platform())' || exit 1
    for package in "$@"; do
      printf '%s\n' "$package"
      # "directory[extra]" is a directory too.
      [[ -d ${package%%\[*} ]] && (
        cd "${package%%\[*}" && pwd \
          && find . \( -name __pycache__ -o -name build -o -name '*.egg-info' -o -name '.*_cache' \) -prune \
            -o -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum
      )
    done
    true
  } | sha256sum | cut -c 1-16
}
