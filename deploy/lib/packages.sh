# shellcheck shell=bash
# Sourced, not run: system packages of Debian 12 and Ubuntu 24.04.
#
#   needletail_packages [PACKAGE...]
#   needletail_package_lists
#
# The first installs what a build of Needletail needs, and PACKAGE... besides, as far as it is missing. Says nothing when
# nothing is missing. Safe to call from several scripts at once. The second fetches apt's lists of packages where there
# are none: images of containers often leave them out.

# The C libraries with their headers, the generators of the message code, and Python.
# git and the certificates fetch the Swift dependencies.
needletail_build_packages=(
  ca-certificates git pkg-config zlib1g-dev
  libprotobuf-c-dev protobuf-c-compiler protobuf-compiler
  libhiredis-dev libopenblas-dev libsqlite3-dev libssl-dev libzstd-dev
  python3 python3-venv
)

needletail_packages() {
  local package missing=()
  if ! command -v dpkg-query >/dev/null; then
    echo "needletail: this is no Debian or Ubuntu; install by your own means: ${needletail_build_packages[*]} $*" >&2
    return 1
  fi
  for package in "${needletail_build_packages[@]}" "$@"; do
    _needletail_is_installed "$package" || missing+=("$package")
  done
  ((${#missing[@]} == 0)) && return 0

  local as_root=()
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "needletail: missing system packages and neither root nor sudo; run as root: apt-get install ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi

  echo "needletail: installing ${missing[*]}" >&2
  local log
  log=$(mktemp)
  # Two callers at once: apt waits for its lock instead of failing. A stale or absent package
  # list is the usual reason for a failed install, so the list is refreshed first.
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -q -y -o DPkg::Lock::Timeout=600)
  if ! { "${apt[@]}" update && _needletail_without_services "${as_root[@]}" -- \
    "${apt[@]}" install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    echo "needletail: could not install ${missing[*]}; the lines above say why" >&2
    return 1
  fi
  rm -f "$log"
}

needletail_package_lists() {
  # A package that is only installed has no file to fetch. Counting reads to the end: apt-cache would fail at a closed pipe.
  apt-cache dumpavail 2>/dev/null | grep -c '^Filename:' >/dev/null && return 0
  local as_root=()
  ((EUID == 0)) || as_root=(sudo)
  echo "needletail: fetching apt's lists of packages" >&2
  "${as_root[@]}" apt-get -q -y -o DPkg::Lock::Timeout=600 update >&2
}

# Whether a package is there; `pkgconf` provides `pkg-config` on newer systems.
_needletail_is_installed() {
  [[ $(dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null) == installed ]] && return 0
  [[ $1 == pkg-config ]] && command -v pkg-config >/dev/null
}

# Some packages, Prometheus among them, start a daemon when installed. policy-rc.d is Debian's
# way to say no (101); it is put there only for the time of the installation.
_needletail_without_services() {
  local as_root=() policy=/usr/sbin/policy-rc.d ours=0 status=0
  while [[ $1 != -- ]]; do
    as_root+=("$1")
    shift
  done
  shift
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
    ours=1
  fi
  "$@" || status=$?
  if ((ours)); then "${as_root[@]}" rm -f "$policy"; fi
  return "$status"
}
