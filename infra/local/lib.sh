# shellcheck shell=bash
# Shared by `up` and `down`: where things are, and which processes are ours. Starts and stops nothing
# by itself, and never signals a process whose command line doesn't name our data directory.

KAFKA_VERSION=4.3.1
REGISTRY_VERSION=3.0.9
CASSANDRA_VERSION=5.0.9

# What there may be, in the order in which it is stopped.
# shellcheck disable=SC2034
all_parts="kafka registry cassandra"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
# The caller's scripts read it; it is where a plain `up` and a plain `down` meet.
# shellcheck disable=SC2034
default_data="$repo/.stepstream/local"
cache="${STEPSTREAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stepstream}"

# Progress goes to stderr: stdout carries only what is meant to be read by a program.
say() { printf '%s\n' "$*" >&2; }

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# absolute PATH: the path from the root, also of a directory that doesn't exist yet.
absolute() {
  case "$1" in
    /*) printf '%s\n' "$1" ;;
    *) printf '%s/%s\n' "$(pwd)" "$1" ;;
  esac
}

# marker DATA NAME: the argument by which we know one of our processes again.
marker() { printf '%s' "-Dstepstream.local=$1/$2"; }

# command_line PID: its arguments with a space after each; empty for a process that has ended, also
# for one that nobody has reaped yet.
command_line() {
  if [ -d /proc/self ]; then
    [ -r "/proc/$1/cmdline" ] || return 0
    tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null || true
  else
    ps -ww -p "$1" -o args= 2>/dev/null | sed 's/$/ /' || true
  fi
}

# running PID: whether a process of that id does anything still.
running() { kill -0 "$1" 2>/dev/null && [ -n "$(command_line "$1")" ]; }

# our_pid DATA NAME: prints the pid of our running process, fails when there is none.
our_pid() {
  local pid
  pid=$(cat "$1/$2.pid" 2>/dev/null) || return 1
  case "$pid" in '' | *[!0-9]*) return 1 ;; esac
  case "$(command_line "$pid")" in
    *"$(marker "$1" "$2") "*) printf '%s\n' "$pid" ;;
    *) return 1 ;;
  esac
}

# java_version: the full version of the java we use, such as 17.0.15.
java_version() {
  "$java" -version 2>&1 | sed -n 's/.*version "\([^"]*\)".*/\1/p' | head -n 1
}

# find_java: sets $java and $java_full, or says what is missing.
find_java() {
  if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then
    java="$JAVA_HOME/bin/java"
  else
    java=$(command -v java) || die "no java found. Kafka $KAFKA_VERSION needs Java 17 or newer: $java_hint"
  fi
  java_full=$(java_version)
  local major=${java_full%%.*}
  case "$major" in
    '' | *[!0-9]*) die "$java didn't tell its version. Java 17 or newer is needed: $java_hint" ;;
  esac
  [ "$major" -ge 17 ] ||
    die "$java is Java $java_full, but Kafka $KAFKA_VERSION needs 17 or newer: $java_hint"
}
java_hint="Debian 'apt-get install openjdk-17-jre-headless', Fedora 'dnf install java-17-openjdk-headless', macOS 'brew install openjdk@17'; or point JAVA_HOME at one"

# lock DIR: one `up` or `down` at a time on a directory, where the system has flock.
lock() {
  mkdir -p "$1"
  command -v flock >/dev/null 2>&1 || return 0
  exec 9>"$1/lock"
  flock -w 300 9 || die "another up or down has been working on $1 for five minutes"
}
