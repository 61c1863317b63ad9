# shellcheck shell=bash
# Sourced, not run: the release build of the three programs for trying and for testing, everywhere the same, so that
# no script builds again what another built.
#
#   needletail_build
#
# Without debug information the server's program has 18 MB instead of 43, and the build takes a few per cent less time
# (the handbook's decision 13 has the figures). A crash still names the functions, not their lines; the programs of a plain
# `swift build -c release` name these too.

needletail_build() { NEEDLETAIL_TESTS=none swift build -c release -debug-info-format none; }
