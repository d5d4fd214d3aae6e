#!/bin/sh
# get-asterisk.sh [DIR [WHAT]]   Unpack Debian's Asterisk 22 under DIR, touching nothing else on this machine.
#
# DIR   where to put it, default .asterisk
# WHAT  asterisk (default); sipp: the load generator of the benchmarks, as DIR/sipp;
#       pip: pip's wheel, for a Python without it, in DIR/pip-root
#
# No root, no chroot, no package database: a private apt state fetches signed packages with all they need;
# they are unpacked into DIR and run by their own dynamic linker. Run again, it does nothing.
# Environment: DEBIAN_MIRROR  a Debian archive, when this machine's apt sources name none
#              SUITE          default sid, the only suite that has Asterisk 22
set -eu

say() { printf '[%s] %s\n' "$WHAT" "$*"; }
die() {
    printf '\n[%s] %s\n' "$WHAT" "$1" >&2
    shift
    for line in "$@"; do printf '    %s\n' "$line" >&2; done
    exit 2
}

WHAT=${2:-asterisk} SUITE=${SUITE:-sid}
case $WHAT in
asterisk) PACKAGES="asterisk asterisk-core-sounds-en-wav" PROGRAM=usr/sbin/asterisk ROOT=root NEED=600 ;;
sipp) PACKAGES="sip-tester" PROGRAM=usr/bin/sipp ROOT=sipp-root NEED=250 ;;
pip) PACKAGES="python3-pip-whl" PROGRAM=usr/share/python-wheels ROOT=pip-root NEED=30 ;;
*) die "what is '$WHAT'?" "usage: get-asterisk.sh [DIR [asterisk|sipp|pip]]" ;;
esac
mkdir -p "${1:-.asterisk}" 2>/dev/null || die "can't make the folder ${1:-.asterisk}" "Is this folder yours, and writable?"
DIR=$(cd "${1:-.asterisk}" && pwd) RUN=$DIR/$WHAT

version() { # sipp -v ends with status 99
    case $WHAT in
    asterisk) "$RUN" -V 2>/dev/null ;;
    sipp) "$RUN" -v 2>/dev/null | grep -o 'SIPp v[0-9.]*' | head -n 1 ;;
    pip) find "$DIR/$ROOT/$PROGRAM" -name 'pip-*.whl' 2>/dev/null ;;
    esac
}
if [ -n "$(version)" ]; then
    say "$(version) is there already"
    exit 0
fi

for tool in apt-get dpkg-deb tar xargs; do
    command -v $tool >/dev/null || die "this machine has no $tool: the packages come from Debian's archive." \
        "Install Asterisk 20.18+, 22.8+ or 23.2+ in your system's own way and set VOXTRA_ASTERISK=/usr/sbin/asterisk."
done
MIRROR=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -E '/debian/?$' | head -n 1)}
[ -n "$MIRROR" ] || die "no Debian archive among this machine's apt sources." \
    "Name one: DEBIAN_MIRROR=http://.../debian make asterisk"
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r $KEYRING ] || die "$KEYRING is missing, so packages could not be proved genuine." \
    "Install the package debian-archive-keyring."
FREE=$(df -Pm "$DIR" | awk 'NR == 2 { print $4 }')
[ "$FREE" -ge $NEED ] || die "only $FREE MB free in $DIR: $NEED MB are needed." "Make room, or give another folder."

BEGAN=$(date +%s)
WORK=$DIR/$ROOT.work
mkdir "$WORK" 2>/dev/null || {
    OTHER=$(cat "$WORK/pid" 2>/dev/null || true)
    if [ -n "$OTHER" ] && kill -0 "$OTHER" 2>/dev/null; then
        die "another run is at it (process $OTHER)." "Wait for it, or end it."
    fi
    rm -rf "$WORK"
    mkdir "$WORK" || die "can't write to $DIR" "Is this folder yours?"
}
echo $$ >"$WORK/pid"
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
NEW=$WORK/new
mkdir -p "$WORK/lists/partial" "$WORK/cache/archives/partial" "$NEW"
: >"$WORK/status"
echo "deb [signed-by=$KEYRING] $MIRROR $SUITE main" >"$WORK/sources.list"

apt() { # this machine's apt.conf.d (proxy, clock) still applies; its sources, status and caches do not
    apt-get -q -y -o Dir::State="$WORK" -o Dir::State::lists="$WORK/lists" -o Dir::State::status="$WORK/status" \
        -o Dir::Cache="$WORK/cache" -o Dir::Etc::sourcelist="$WORK/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::Log="$WORK" -o APT::Sandbox::User= -o APT::Install-Recommends=false -o Acquire::Languages=none \
        -o APT::Update::Error-Mode=any -o Acquire::Retries=3 -o Acquire::http::Timeout=30 -o Debug::NoLocking=true "$@" >"$WORK/log" 2>&1
}
fetched() {
    apt "$@" && return
    tail -n 12 "$WORK/log" >&2
    die "Debian's archive could not be read: $MIRROR, suite $SUITE." \
        "Is the network up? Behind a proxy, set http_proxy or tell apt in /etc/apt/apt.conf.d." \
        "Another archive: DEBIAN_MIRROR=http://.../debian make asterisk"
}
say "reading the package list of Debian $SUITE"
fetched update
say "fetching $PACKAGES and what they need (about $((NEED / 5)) MB)"
# shellcheck disable=SC2086 # a list of packages
case $WHAT in
pip) (cd "$WORK/cache/archives" && fetched download $PACKAGES) ;; # what it depends on is not needed
*) fetched --download-only install $PACKAGES ;;
esac
say "unpacking $(find "$WORK/cache/archives" -name '*.deb' | wc -l) packages"
# Documentation and translations are left out; what is below usr/share/asterisk is needed.
find "$WORK/cache/archives" -name '*.deb' -print0 | xargs -0 -n 1 -P 2 sh -c '
    dpkg-deb --fsys-tarfile "$2" | tar -x -C "$1" --no-same-owner --keep-directory-symlink --exclude=./usr/share/doc \
        --exclude=./usr/share/man --exclude=./usr/share/locale --exclude=./usr/share/info' unpack "$NEW" ||
    die "unpacking failed." "Is the disk full? $(df -Ph "$DIR" | awk 'NR == 2 { print $4 }') are free in $DIR."
SOUNDS=$NEW/usr/share/asterisk/sounds
if [ -d "$SOUNDS/en_US_f_Allison" ]; then # the package's own installation would make this link
    ln -sfn en_US_f_Allison "$SOUNDS/en"
fi
rm -rf "${DIR:?}/$ROOT"
mv "$NEW" "$DIR/$ROOT"


if [ "$WHAT" != pip ]; then
    MULTI=$(uname -m)-linux-gnu
    LINKER=$(cd "$DIR/$ROOT" && find usr/lib lib -name 'ld-linux*.so.*' 2>/dev/null | head -n 1)
    [ -n "$LINKER" ] || die "no dynamic linker among the packages." "Please report this, with the output of: uname -a"
    cat >"$RUN" <<EOF
#!/bin/sh
R=\$(dirname "\$(readlink -f "\$0")")/$ROOT L=\$R/usr/lib/$MULTI
export GCONV_PATH=\$L/gconv
exec \$R/$LINKER --library-path \$L:\$R/lib/$MULTI --argv0 $WHAT \$R/$PROGRAM "\$@"
EOF
    chmod +x "$RUN"
fi
[ -n "$(version)" ] || die "$RUN does not run:" "$("$RUN" -V 2>&1 | tail -n 5)"
say "$(version) is in $DIR, $(($(date +%s) - BEGAN)) s"
