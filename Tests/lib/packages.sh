# shellcheck shell=bash
# Sourced, not run: `needletail_packages [PACKAGE...]` as deploy/lib/packages.sh tells.
# shellcheck source=deploy/lib/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib/packages.sh"
