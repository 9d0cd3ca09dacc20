#!/bin/sh
# Installs what the tests of the image need, on Debian as root: Docker, unless a daemon is reachable, and debootstrap.
# On any other machine it installs nothing, and the tests say what is missing.
set -eu
missing=""
docker version >/dev/null 2>&1 || command -v dockerd >/dev/null || missing="docker.io"
command -v debootstrap >/dev/null || missing="$missing debootstrap"
if [ -z "$missing" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    exit 0
fi
mkdir -p build
echo "Installing $missing"
apt-get update -qq
# From Debian 13 on, docker.io comes without the command.
command -v docker >/dev/null || [ -z "$(apt-cache search '^docker-cli$')" ] || missing="$missing docker-cli"
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $missing >build/install-docker.log 2>&1 ||
    { tail -5 build/install-docker.log >&2; exit 1; }
