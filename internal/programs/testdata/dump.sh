# pg_dump and pg_restore: a schema with all sorts of things goes out, and comes back the same.
set -eu
[ "$1" = work ] || exit 0
q() { psql -X -q -v ON_ERROR_STOP=1 "$@"; }
q <<'SQL'
create schema dumped;
create type dumped.mood as enum ('sad', 'happy');
create table dumped.t (id bigserial primary key, m dumped.mood, doc jsonb, big text default repeat('x', 10000)) partition by range (id);
create table dumped.t1 partition of dumped.t for values from (1) to (1000);
insert into dumped.t (m, doc) select 'happy', jsonb_build_object('n', n) from generate_series(1, 500) n;
create function dumped.f(int) returns int language sql as 'select $1 + 1';
create view dumped.v as select m, count(*) from dumped.t group by m;
create materialized view dumped.mv as select * from dumped.v;
SQL
dump() { pg_dump -n dumped "$@"; }
plain() { dump -Fp | grep -v -e '^-- ' -e '^.restrict ' -e '^.unrestrict '; }
plain >"$TMPDIR/before"
dump -Fc -f "$TMPDIR/dump"
q -c 'drop schema dumped cascade' 2>/dev/null
pg_restore -d "$PGDATABASE" -j 2 -e "$TMPDIR/dump"
plain >"$TMPDIR/after"
cmp "$TMPDIR/before" "$TMPDIR/after"
dump -Fd -j 2 -f "$TMPDIR/parallel" # on one snapshot
q -c 'drop schema dumped cascade' 2>/dev/null
pg_restore -d "$PGDATABASE" --single-transaction -e "$TMPDIR/parallel"
q -c 'drop schema dumped cascade' 2>/dev/null
