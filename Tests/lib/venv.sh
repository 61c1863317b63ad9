# shellcheck shell=bash
# Sourced, not run: `needletail_venv NAME PACKAGE...` as deploy/lib/venv.sh tells.
# shellcheck source=deploy/lib/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib/venv.sh"
