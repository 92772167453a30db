#!/bin/sh
# Makes the certificates by which the five services know each other, with an authority of the deployment's own.
#
#   make-certs.sh                       the authority, unless it is there, and a new certificate for each service
#   make-certs.sh --new-authority       begins to replace the authority: the services trust the old one and the new
#   make-certs.sh --drop-old-authority  ends that, once each service has a certificate of the new one
#
# Run it again to renew: running processes see the new files within seconds, without a restart. Certificates are valid for 90
# days (TIDINGS_CERT_DAYS), the authority for ten years. The folder is secrets/tls beside this file, or TIDINGS_CERTS_DIR. In it,
# SERVICE/ is what the process of a service is given: ca.crt, tls.crt, tls.key. Keep authority/ where nobody reads it: with its
# key anybody can be a service.
set -eu
cd "$(dirname "$0")"
# As with make-secrets.sh, the folder keeps everybody else on this machine out, not the files, which another account reads in a
# container.
umask 022
folder=${TIDINGS_CERTS_DIR:-secrets/tls}
days=${TIDINGS_CERT_DAYS:-90}
mkdir -p "$folder/authority"
chmod 700 "$folder" "$folder/authority"
cd "$folder"

# A file is there whole or not at all: a process may look at any moment.
put() { chmod 644 "$1.new" && mv "$1.new" "$1"; }

make_authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -sha256 \
        -subj "/CN=tidings services $(date -u +%Y-%m-%dT%H:%M:%SZ)" \
        -addext 'basicConstraints=critical,CA:TRUE,pathlen:0' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
        -keyout authority/ca.key.new -out authority/ca.crt.new 2> /dev/null
    chmod 600 authority/ca.key.new
    mv authority/ca.key.new authority/ca.key
    put authority/ca.crt
}

make_certificate() {
    mkdir -p "$1"
    cat > "$1/extensions.new" <<END
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = DNS:$1.tidings.internal
END
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -subj "/CN=$1.tidings.internal" \
        -keyout "$1/tls.key.new" -out "$1/request.new" 2> /dev/null
    openssl x509 -req -in "$1/request.new" -CA authority/ca.crt -CAkey authority/ca.key -days "$days" -sha256 \
        -set_serial "0x$(openssl rand -hex 16)" -extfile "$1/extensions.new" -out "$1/tls.crt.new" 2> /dev/null
    rm "$1/request.new" "$1/extensions.new"
    # Between the two a process sees a key without its certificate, which it leaves alone until the next look.
    put "$1/tls.key"
    put "$1/tls.crt"
}

# What a service trusts: this authority, and the one before it while that is replaced.
trust() {
    mkdir -p "$1"
    cat authority/ca.crt > "$1/ca.crt.new"
    [ ! -f authority/old.crt ] || cat authority/old.crt >> "$1/ca.crt.new"
    put "$1/ca.crt"
}

each() { for service in auth user chat message gateway; do "$1" "$service"; done; }

case ${1:-} in
    '')
        [ -s authority/ca.key ] || make_authority
        each trust
        each make_certificate
        ;;
    --new-authority)
        [ ! -f authority/old.crt ] || { echo 'the old authority is still trusted: --drop-old-authority first' >&2; exit 1; }
        cp authority/ca.crt authority/old.crt
        make_authority
        each trust
        echo 'both authorities are trusted. In a minute run it again without arguments, then with --drop-old-authority.' >&2
        ;;
    --drop-old-authority)
        for service in auth user chat message gateway; do
            openssl verify -CAfile authority/ca.crt "$service/tls.crt" > /dev/null 2>&1 || {
                echo "$service has a certificate of the old authority: run it without arguments first" >&2
                exit 1
            }
        done
        rm -f authority/old.crt
        each trust
        ;;
    *)
        echo "unknown: $1" >&2
        exit 2
        ;;
esac
