# psql: describes, copies, watches, and waits for notifications.
set -eu
q() { psql -X -q -v ON_ERROR_STOP=1 -At "$@"; }
case $1 in
work)
  q -c 'create schema psql' -c 'create table psql.t (id int primary key, v text)' -c 'create index on psql.t (v)'
  psql -X -c '\d psql.t' | grep -q 't_v_idx'
  q -c '\dt psql.*' -c '\dn' -c '\df psql.*' -c '\du' -c '\l' -c '\x' -c '\conninfo' >/dev/null
  printf '1\tone\n2\ttwo\n' | q -c '\copy psql.t from stdin'
  [ "$(q -c '\copy (select v from psql.t order by id) to stdout' | tr '\n' ' ')" = 'one two ' ]
  [ "$(q <<'SQL'
begin;
savepoint a;
insert into psql.t values (3, 'three');
rollback to a;
insert into psql.t values (4, 'four');
commit;
prepare p (int) as select v from psql.t where id = $1;
execute p (4);
deallocate p;
select 1 as n \gset
select :n + 1;
select v from psql.t where id = $1 \bind 2 \g
SQL
  )" = "four
2
two" ] || [ "$(psql --version | awk '{print int($3)}')" -lt 16 ] # which has no \bind
  [ "$(timeout 5 psql -X -qAt -c 'select count(*) from psql.t' -c '\q')" = 3 ]
  # \watch goes on until the statement fails.
  ! q 2>/dev/null <<'SQL'
create sequence psql.rounds;
select 1 / (3 - nextval('psql.rounds')) \watch 0.05
SQL
  q -c 'drop schema psql cascade' 2>/dev/null
  ;;
listen)
  (sleep 1 && q -c "notify psql, 'hello'") &
  { echo 'listen psql;'; sleep 2; echo 'select 1;'; } | q | grep -q 'Asynchronous notification "psql" with payload "hello"'
  wait
  # The terminal's interrupt is a CancelRequest.
  psql -X -c 'select pg_sleep(600)' 2>"$TMPDIR/canceled" &
  pid=$!
  until [ "$(q -c "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(600)'")" = 1 ]; do sleep 0.1; done
  kill -INT $pid
  ! wait $pid
  grep -q 'canceling statement due to user request' "$TMPDIR/canceled"
  ;;
esac
