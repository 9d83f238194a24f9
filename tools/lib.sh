# Shared by tools/*: where things are, and what a fresh Debian 12 machine lacks. Sourced, not run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export CCACHE_NOHASHDIR=1 # what two versions have in common is compiled once (tests/mixed)

packages_build="meson ninja-build ccache pkg-config g++-12 g++ cmake libasio-dev libopendht-dev libmsgpack-cxx-dev
  libgnutls28-dev nettle-dev libc-ares-dev libknot-dev nlohmann-json3-dev libcli11-dev libspdlog-dev libfmt-dev
  libsqlite3-dev libmicrohttpd-dev libcurl4-openssl-dev doctest-dev ca-certificates"
packages_test="baresip-core sip-tester bind9 bind9-utils bind9-dnsutils knot knot-dnsutils pdns-server
  pdns-backend-sqlite3 sqlite3 iproute2 nftables openssl gnutls-bin curl sox python3 procps util-linux"
packages_fuzz="clang-19 libclang-rt-19-dev lld-19"
packages_tidy="clang-tidy-19 clang-19"

say() { printf '%s\n' "== $*"; }

# install PACKAGE…: only what is missing; Debian's own services are kept from starting.
install() {
  local missing=() p
  for p in "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ]; then
    echo "these packages are missing: ${missing[*]}" >&2
    echo "install them as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  say "installing ${#missing[@]} packages"
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    made=1
  fi
  local log; log=$(mktemp)
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    [ -z "$made" ] || rm -f "$policy"
    exit 1
  fi
  rm -f "$log"
  [ -z "$made" ] || rm -f "$policy"
}

# configure DIR ARG…: a build directory, made once.
configure() {
  local dir=$1
  shift
  [ -f "$dir/build.ninja" ] || meson setup "$dir" "$@" >"$dir.setup.log" 2>&1 || { cat "$dir.setup.log" >&2; exit 1; }
  rm -f "$dir.setup.log"
}

# The fuzz targets' own build: clang, sanitizers, coverage in the libraries too.
configure_fuzz() {
  CC=clang-19 CXX="$(command -v ccache) clang++-19" configure build-fuzz --buildtype=plain -Dfuzz=true -Dtests=false -Db_lundef=false \
    -Db_sanitize=address,undefined -Dcpp_args='-O1 -g1 -fsanitize=fuzzer-no-link'
}
