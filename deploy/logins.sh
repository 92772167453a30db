#!/bin/sh
# Lets the roles of the services log in, each with the password in its secret. Runs once, in the new container of Postgres.
set -eu
for service in auth user chat message; do
    psql --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
        --set=role="tidings_$service" --set=password="$(cat "/run/secrets/role_$service")" <<'SQL'
alter role :"role" login password :'password';
SQL
done
