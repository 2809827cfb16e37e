#!/bin/sh
# Starts mosquitto with the accounts that greenmine writes, and lets it read them again when they change.
# Devices' accounts come from greenmine (ACCOUNTS); the account of greenmine itself is made here from its secret, so that
# the broker can start first. Once greenmine has a certificate authority (ca.crt and crl.pem in ACCOUNTS), the listener
# of certificates.conf is opened; when a certificate is revoked the broker is started anew, which takes a second and cuts
# the connection of whoever has it.
set -eu

ACCOUNTS=${ACCOUNTS:-/mosquitto/accounts}
RUN=${RUN:-/mosquitto/run}
DATA=${DATA:-/mosquitto/data}
CONFIG=${CONFIG:-/mosquitto/config/mosquitto.conf}
CERTIFICATES=${CERTIFICATES:-/mosquitto/config/certificates.conf}
SECRET=${SECRET:-/run/secrets/mqtt-ingest}
SERVICE=${SERVICE:-greenmine-ingest}
EVERY_S=${EVERY_S:-2}

umask 077
mkdir -p "$ACCOUNTS" "$RUN/conf.d" "$DATA"
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

trust() {
    if [ ! -s "$ACCOUNTS/ca.crt" ] || [ ! -s "$ACCOUNTS/crl.pem" ]; then return; fi
    cp "$ACCOUNTS/ca.crt" "$RUN/device-ca.crt"
    cp "$ACCOUNTS/crl.pem" "$RUN/device-crl.pem"
    cp "$CERTIFICATES" "$RUN/conf.d/certificates.conf"
    if [ "$(id -u)" = 0 ]; then chown -R mosquitto:mosquitto "$RUN"; fi
}

start() {
    mosquitto -c "$CONFIG" &
    broker=$!
}

state() { stat -c '%n %i %Y %s' "$ACCOUNTS/passwords" "$ACCOUNTS/acl" 2>/dev/null || true; }
trusted() { stat -c '%n %i %Y %s' "$ACCOUNTS/ca.crt" "$ACCOUNTS/crl.pem" 2>/dev/null || true; }

seen=$(state)
seen_trust=$(trusted)
merge
trust
if [ "$(id -u)" = 0 ]; then chown -R mosquitto:mosquitto "$ACCOUNTS" "$RUN" "$DATA"; fi

ending=
start
trap 'ending=yes; kill -TERM "$broker" 2>/dev/null || true' TERM INT

while kill -0 "$broker" 2>/dev/null; do
    sleep "$EVERY_S" &
    wait $! || true
    now=$(state)
    if [ "$now" != "$seen" ]; then
        seen=$now
        merge
        kill -HUP "$broker" 2>/dev/null || true
    fi
    now=$(trusted)
    if [ "$now" != "$seen_trust" ] && [ -z "$ending" ]; then
        seen_trust=$now
        trust
        kill -TERM "$broker" 2>/dev/null || true
        while kill -0 "$broker" 2>/dev/null; do wait "$broker" || true; done
        if [ -z "$ending" ]; then start; fi
    fi
done
wait "$broker"
