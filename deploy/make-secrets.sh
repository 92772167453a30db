#!/bin/sh
# Makes what compose.yaml expects in secrets/, each secret with 256 bits of randomness. What is there already stays.
# The mail server's URL is yours to write into secrets/smtp.
set -eu
cd "$(dirname "$0")"
# Compose shows a container these files with the rights that they have here, and what reads them there is another account: the
# folder keeps everybody else on this machine out, not the files.
umask 022
mkdir -p secrets
chmod 700 secrets
random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
keep() { [ -s "secrets/$1" ] || printf '%s' "$2" > "secrets/$1"; }
keep suite "$(random)"
keep auth "$(random)"
keep postgres "$(random)"
keep database_owner "postgres://tidings:$(cat secrets/postgres)@postgres:5432/tidings"
for service in auth user chat message; do
    keep "role_$service" "$(random)"
    keep "database_$service" "postgres://tidings_$service:$(cat "secrets/role_$service")@postgres:5432/tidings"
done
[ -s secrets/smtp ] || echo "write the mail server's URL into $(pwd)/secrets/smtp, such as smtps://user:password@mail.example.org:465" >&2
chmod 644 secrets/*
