#!/bin/sh
# Builds the documentation as a site, in site/: no network is needed to read it, only to install
# what builds it, the first time. Makes .venv as launch/quickstart.sh does. It runs the notebooks of
# the course (about half a minute), and again only if they or distgrad have changed.
#
#   sh docs/build.sh            # then open site/index.html
set -eu
repo=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$repo/launch/lib/venv.sh"

[ $# -eq 0 ] || die "docs/build.sh takes no arguments"
ready docs,fast,plot
cd "$repo"
export NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true
python docs/site/make.py
python -m mkdocs build --quiet --strict --clean -f build/mkdocs.yml --site-dir "$repo/site"
printf 'The site is in site/: open %s\n' "$repo/site/index.html"
