#!/bin/sh
# Chromium for the tests that look at pages, from Debian's packages: sh scripts/browser.sh
set -eu
# shellcheck source=scripts/debian.sh
. "$(dirname "$0")/debian.sh"
need /usr/bin/chromium chromium fonts-dejavu-core
