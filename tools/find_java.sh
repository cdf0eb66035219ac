#!/usr/bin/env bash
# Print the home of a Java 17 or 21: JAVA_HOME, then PATH, then the system's usual places; as root, install one.
set -euo pipefail

is_wanted() { # whether the java at $1 is of a version that Spark 4 runs on
    [ -x "$1" ] && "$1" -version 2>&1 | grep -qE 'version "(17|21)[."]'
}

print_home_of() {
    dirname "$(dirname "$(readlink -f "$1")")"
}

find_java() {
    local candidate
    for candidate in "${JAVA_HOME:-/nowhere}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
        if is_wanted "$candidate"; then
            print_home_of "$candidate"
            return 0
        fi
    done
    return 1
}

find_java && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "no Java 17 or 21 found: installing a headless Java runtime with apt-get" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openjdk-17-jre-headless >&2 ||
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openjdk-21-jre-headless >&2
    find_java && exit 0
fi
echo "error: no Java 17 or 21 in JAVA_HOME, on PATH or in /usr/lib/jvm; type: sudo apt-get install openjdk-17-jre-headless" >&2
exit 1
