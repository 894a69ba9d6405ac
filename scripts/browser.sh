#!/bin/sh
# Install Chromium from Debian's packages, for the tests of pages: sh scripts/browser.sh
set -eu
# shellcheck source=scripts/debian.sh
. "$(dirname "$0")/debian.sh"
need /usr/bin/chromium chromium fonts-dejavu-core
