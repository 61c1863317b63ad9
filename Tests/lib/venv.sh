# shellcheck shell=bash
# Sourced, not run: `needletail_venv NAME PACKAGE...` as deploy/lib/venv.sh tells.
# shellcheck source=deploy/lib/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib/venv.sh"

# needletail_import_venv: the python of an environment with the libraries whose models are imported, and what the
# Python client needs.
needletail_import_venv() {
  needletail_venv import numpy pandas protobuf pytest scikit-learn xgboost-cpu lightgbm catboost
}
