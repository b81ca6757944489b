#!/usr/bin/env bash
# Prints the path of a program of Prometheus: `prometheus` or `promtool`. Where there is none, it is taken out of Debian's package into the
# user's cache: to install that would start a server.
set -euo pipefail
program="$1"
if command -v "$program"; then exit 0; fi
cache="${XDG_CACHE_HOME:-$HOME/.cache}/persistent-chat-failover"
kept="$cache/prometheus"
mkdir -p "$cache"
# Two processes must not fetch at the same time.
exec 9>"$cache/prometheus-lock"
flock 9
if [ ! -x "$kept/$program" ]; then
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        echo "prometheus.sh: $program is missing, and this is no Debian: install Prometheus." >&2
        exit 1
    fi
    echo "fetching Prometheus once: $kept" >&2
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    if ! apt-get download -qq prometheus >&2; then
        sudo=""
        if [ "$(id -u)" -ne 0 ]; then sudo="sudo"; fi
        $sudo apt-get update -qq >&2
        apt-get download -qq prometheus >&2
    fi
    dpkg-deb -x prometheus_*.deb package
    mkdir -p "$kept"
    mv package/usr/bin/prometheus package/usr/bin/promtool "$kept/"
fi
echo "$kept/$program"
