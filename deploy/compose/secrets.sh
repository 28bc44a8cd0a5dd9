#!/bin/sh
# Makes secrets/ beside this file, once: a random password for Redis and one for Postgres, and the URLs that memd reads.
# The directory is 0700; its files are 0444, since compose mounts them as they are into containers of other users.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir secrets
password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
redis=$(password)
postgres=$(password)
printf 'requirepass %s\n' "$redis" >secrets/redis-conf
printf 'redis://:%s@redis:6379/0\n' "$redis" >secrets/redis-url
printf '%s' "$postgres" >secrets/postgres-password
printf 'postgresql://memd:%s@postgres:5432/memd\n' "$postgres" >secrets/postgres-url
chmod 0444 secrets/*
