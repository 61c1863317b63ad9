# shellcheck shell=bash
# Sourced, not run: the debug build that tests use, everywhere the same, so that no stage builds again what another
# built.
#
#   needletail_debug_build OPTION...
#
# It writes no debug information: a failed expectation names its line by itself. A crash names functions only; for its
# lines, repeat with a plain `swift build --build-tests` and `swift test`. The index stays: SwiftPM looks for tests in it.

needletail_debug_build() { swift build -debug-info-format none "$@"; }
