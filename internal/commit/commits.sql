-- Fairlead's commit markers, for PostgreSQL 13 and later. Run it once in each database, as a role that may create a schema;
-- running it again does no harm. A publication of all tables carries fairlead.commits too: its subscribers need the table,
-- or the publication should name its tables.
--
-- A transaction that Fairlead commits writes a row into fairlead.commits. If the answer to the commit is lost, the row tells
-- whether it happened: it is there if and only if the transaction committed. Roles reach the table through functions only.
--
-- How rows go away:
--   * A session's next marker deletes those of its commits that are answered. A session in use has one row, or one for each
--     commit that is unanswered. Under SERIALIZABLE nothing is deleted, since its reads would make unrelated transactions
--     fail.
--   * What is left (the last row of a session that ended, rows of serializable transactions, the rows that resolvers write) is
--     deleted when it is older than a day, a page of the table at a time, by every session's first marker and every resolver.
--     Where nearly all transactions are serializable that is not enough: there, run "select fairlead.prune()" once a day.

create schema if not exists fairlead;
grant usage on schema fairlead to public;

-- Rows are only inserted and deleted, so the table stays small if autovacuum comes often, whatever its size.
create table if not exists fairlead.commits (
    session pg_catalog.uuid not null,
    seq bigint not null,
    -- Written by a resolver in place of the transaction: the commit did not happen, and with this row it cannot any more.
    void boolean not null default false,
    -- Not the transaction's beginning, which may be long ago when it commits.
    created pg_catalog.timestamptz not null default pg_catalog.clock_timestamp(),
    primary key (session, seq)
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000
);
revoke all on fairlead.commits from public;

-- mark writes the row of a commit, last thing before it, and deletes the rows of the session up to p_settled. It returns
-- "marked" or, in a read-only transaction, "readonly", and the id that the transaction had before, 0 if it had none.
-- Its plans are made while the table is small, and must be good when it has grown.
create or replace function fairlead.mark(p_session pg_catalog.uuid, p_seq bigint, p_settled bigint) returns pg_catalog.text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    had text := coalesce(pg_catalog.pg_current_xact_id_if_assigned()::text, '0');
    isolation text := pg_catalog.current_setting('transaction_isolation');
begin
    if pg_catalog.current_setting('transaction_read_only')::boolean then
        return 'readonly ' || had;
    end if;
    insert into fairlead.commits (session, seq) values (p_session, p_seq);
    if isolation = 'read committed' then
        perform fairlead.forget(p_session, p_settled);
    elsif isolation = 'repeatable read' then
        begin
            perform fairlead.forget(p_session, p_settled);
        exception when serialization_failure then
            null; -- somebody else deleted one since the snapshot: no reason for this transaction to fail
        end;
    end if;
    return 'marked ' || had;
end
$$;

-- forget deletes a session's answered rows, or, when it has none yet, does its part of the common work. It waits for nobody:
-- a lost transaction may hold locks on rows for long. It looks at the last hundred only: before them there may be any number
-- that are deleted already, and cannot be vacuumed away as long as some long transaction lives. It runs with what mark set.
create or replace function fairlead.forget(p_session pg_catalog.uuid, p_settled bigint) returns pg_catalog.void
language plpgsql volatile
as $$
begin
    if p_settled = 0 then
        perform fairlead.sweep();
        return;
    end if;
    delete from fairlead.commits where ctid = any (array(
        select c.ctid from fairlead.commits c
        where c.session = p_session and c.seq <= p_settled and c.seq > p_settled - 100 and not c.void for update skip locked));
end
$$;

-- sweep deletes what is older than a day from one page of the table, whichever. Done in proportion to the rows that are left
-- behind, it keeps their number down, however large the table is, and costs the same however many deleted rows it holds.
create or replace function fairlead.sweep() returns pg_catalog.void
language plpgsql volatile
as $$
declare
    pages bigint := pg_catalog.pg_relation_size('fairlead.commits') / pg_catalog.current_setting('block_size')::bigint;
    page bigint;
begin
    if pages = 0 then
        return;
    end if;
    -- The session's random() is its own: it may have been seeded.
    page := (pg_catalog.hashtextextended(pg_catalog.gen_random_uuid()::text, 0) & 9223372036854775807) % pages;
    delete from fairlead.commits where ctid = any (array(
        select c.ctid from fairlead.commits c
        where c.ctid = any (array(select pg_catalog.format('(%s,%s)', page, i)::tid from pg_catalog.generate_series(1, 150) i))
        and c.created < pg_catalog.clock_timestamp() - interval '1 day' for update skip locked));
end
$$;

-- resolve decides a commit in doubt: "committed" or "aborted". It waits while the transaction still lives. After "aborted",
-- which counts once it is committed itself, the transaction cannot commit any more, as its own row would collide. "unknown":
-- the row was deleted meanwhile. It wants READ COMMITTED.
create or replace function fairlead.resolve(p_session pg_catalog.uuid, p_seq bigint) returns pg_catalog.text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    is_void boolean;
begin
    insert into fairlead.commits (session, seq, void) values (p_session, p_seq, true) on conflict (session, seq) do nothing;
    if found then
        perform fairlead.sweep();
        return 'aborted';
    end if;
    select void into is_void from fairlead.commits where session = p_session and seq = p_seq;
    if not found then
        return 'unknown';
    end if;
    -- A resolver whose own answer was lost finds the row that it wrote.
    return case when is_void then 'aborted' else 'committed' end;
end
$$;

-- barrier writes something, so that its commit waits for what a commit waits for, and leaves no row.
create or replace function fairlead.barrier() returns pg_catalog.void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    own uuid := pg_catalog.gen_random_uuid();
begin
    insert into fairlead.commits (session, seq, void) values (own, 0, true);
    delete from fairlead.commits c where c.session = own and c.seq = 0;
end
$$;

-- prune deletes all that is older than a day, and returns how many rows that were.
create or replace function fairlead.prune() returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    gone bigint;
begin
    delete from fairlead.commits where ctid = any (array(
        select c.ctid from fairlead.commits c
        where c.created < pg_catalog.clock_timestamp() - interval '1 day' for update skip locked));
    get diagnostics gone = row_count;
    return gone;
end
$$;

-- The rest is for everybody: without a session's random number there is nothing to be learnt or spoilt by it.
revoke all on function fairlead.forget(pg_catalog.uuid, bigint), fairlead.sweep(), fairlead.prune() from public;
grant execute on function fairlead.mark(pg_catalog.uuid, bigint, bigint), fairlead.resolve(pg_catalog.uuid, bigint), fairlead.barrier() to public;
