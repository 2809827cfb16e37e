#!/bin/sh
# Starts mosquitto with the accounts that greenmine writes, and lets it read them again when they change.
# Devices' accounts come from greenmine (ACCOUNTS); the account of greenmine itself is made here from its secret, so that
# the broker can start first.
set -eu

ACCOUNTS=${ACCOUNTS:-/mosquitto/accounts}
RUN=${RUN:-/mosquitto/run}
DATA=${DATA:-/mosquitto/data}
CONFIG=${CONFIG:-/mosquitto/config/mosquitto.conf}
SECRET=${SECRET:-/run/secrets/mqtt-ingest}
SERVICE=${SERVICE:-greenmine-ingest}
EVERY_S=${EVERY_S:-2}

umask 077
mkdir -p "$ACCOUNTS" "$RUN" "$DATA"
[ -e "$ACCOUNTS/passwords" ] || : > "$ACCOUNTS/passwords"
[ -e "$ACCOUNTS/acl" ] || : > "$ACCOUNTS/acl"

printf '%s:%s\n' "$SERVICE" "$(cat "$SECRET")" > "$RUN/service"
mosquitto_passwd -U "$RUN/service"

merge() {
    cat "$RUN/service" "$ACCOUNTS/passwords" > "$RUN/passwords.new"
    {
        printf 'user %s\ntopic readwrite mines/#\ntopic readwrite application/#\ntopic readwrite v3/#\n' "$SERVICE"
        printf 'topic readwrite spBv1.0/#\ntopic read $SYS/#\n\n'
        cat "$ACCOUNTS/acl"
    } > "$RUN/acl.new"
    mv "$RUN/passwords.new" "$RUN/passwords"
    mv "$RUN/acl.new" "$RUN/acl"
    if [ "$(id -u)" = 0 ]; then chown mosquitto:mosquitto "$RUN/passwords" "$RUN/acl"; fi
}

state() { stat -c '%n %i %Y %s' "$ACCOUNTS/passwords" "$ACCOUNTS/acl" 2>/dev/null || true; }

seen=$(state)
merge
if [ "$(id -u)" = 0 ]; then chown -R mosquitto:mosquitto "$ACCOUNTS" "$RUN" "$DATA"; fi

mosquitto -c "$CONFIG" &
broker=$!
trap 'kill -TERM "$broker" 2>/dev/null || true' TERM INT

while kill -0 "$broker" 2>/dev/null; do
    sleep "$EVERY_S" &
    wait $! || true
    now=$(state)
    if [ "$now" != "$seen" ]; then
        seen=$now
        merge
        kill -HUP "$broker" 2>/dev/null || true
    fi
done
wait "$broker"
