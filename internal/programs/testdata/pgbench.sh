# pgbench: makes its tables, and runs its transactions with each protocol.
set -eu
[ "$1" = work ] || exit 0
pgbench -i -q -s 1 --foreign-keys 2>&1 | grep -q done
# A thread prepares one client's statements at a time, and waits. A client of the same thread that is in a transaction waits with it, and
# keeps its connection: so each client has a thread of its own, where there are more clients than connections.
for protocol in simple extended prepared; do
  pgbench -n -c 8 -j 8 -t 20 -M $protocol | grep -q '160/160'
done
printf '%s\n' '\startpipeline' 'select 1;' 'select 2;' '\endpipeline' >"$TMPDIR/pipeline.sql"
pgbench -n -c 4 -t 20 -M prepared -f "$TMPDIR/pipeline.sql" | grep -q '80/80'
psql -X -q -c 'drop table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers'
