set search_path to pg_catalog;
create role mallory;
grant create, usage on schema public to mallory;
do $do$ begin execute format('alter database %I set search_path = public, pg_catalog', current_database()); end $do$;
set role mallory;

create table public.seen (who pg_catalog.text, what pg_catalog.text);
create sequence public.runs;
grant all on public.seen, public.runs to public;

-- A sequence remembers what was rolled back. Where nothing can be written, an error tells.
create function public.record(what pg_catalog.text) returns pg_catalog.void language plpgsql set search_path = pg_catalog as $$
begin
	if (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
		return;
	end if;
	if pg_is_in_recovery() or current_setting('transaction_read_only')::bool then
		raise exception 'an overload ran as %: %', current_user, what;
	end if;
	perform nextval('public.runs');
	insert into public.seen values (current_user, what);
end $$;

do $do$
declare
	o record;
	f record;
	n int := 0;
begin
	-- Operators: the same names and types, which public's come before.
	for o in select oprname, oprleft::regtype::text as l, oprright::regtype::text as r, oprresult::regtype::text as result
		from pg_operator where oprnamespace = 'pg_catalog'::regnamespace and oprkind = 'b' and oprcode <> 0
		and oprname in ('=', '<>', '<', '<=', '>', '>=', '*', '||', '-', '+', '/', '%', '~~', '~')
		and (select bool_and(typtype <> 'p') from pg_type where oid in (oprleft, oprright, oprresult))
	loop
		n := n + 1;
		execute format($f$create function public.operator_%s(a %s, b %s) returns %s language plpgsql as $b$
			begin perform public.record(%L); return a operator(pg_catalog.%s) b; end $b$$f$, n, o.l, o.r, o.result, format('%s(%s,%s)', o.oprname, o.l, o.r), o.oprname);
		execute format('create operator public.%s (leftarg = %s, rightarg = %s, function = public.operator_%s)', o.oprname, o.l, o.r, n);
	end loop;
	-- Functions of fixed arguments.
	for f in select p.oid, proname, pg_get_function_identity_arguments(p.oid) as args, pronargs, prorettype::regtype::text as result, proretset
		from pg_proc p where pronamespace = 'pg_catalog'::regnamespace and prokind = 'f' and provariadic = 0
		and not exists (select from pg_type t where t.typtype = 'p' and (t.oid = prorettype or t.oid = any (proargtypes)))
		and proargmodes is null and not proretset
		and proname in ('now', 'clock_timestamp', 'current_setting', 'set_config', 'md5', 'chr', 'isfinite', 'pg_has_role', 'current_database', 'date_part',
			'extract', 'pg_is_in_recovery', 'pg_postmaster_start_time', 'pg_last_wal_replay_lsn', 'pg_last_wal_receive_lsn', 'pg_last_xact_replay_timestamp',
			'pg_current_wal_insert_lsn', 'pg_walfile_name', 'to_regproc', 'pg_terminate_backend', 'pg_backend_pid', 'pg_xact_status',
			'pg_current_xact_id_if_assigned', 'has_function_privilege', 'pg_my_temp_schema', 'gen_random_uuid', 'pg_advisory_unlock', 'quote_literal')
	loop
		execute format($f$create function public.%I(%s) returns %s language plpgsql as $b$
			begin perform public.record(%L); return pg_catalog.%I(%s); end $b$$f$, f.proname, f.args, f.result, f.proname, f.proname,
			(select string_agg('$' || i, ', ') from generate_series(1, f.pronargs) i));
	end loop;
end $do$;

-- Types: what is cast to these is looked at.
create domain public.text as pg_catalog.text check (public.record('text') is not null);
create domain public.uuid as pg_catalog.uuid check (public.record('uuid') is not null);
create domain public.name as pg_catalog.name check (public.record('name') is not null);
create domain public.xid8 as pg_catalog.xid8 check (public.record('xid8') is not null);
create domain public.float8 as pg_catalog.float8 check (public.record('float8') is not null);
create domain public.regproc as pg_catalog.regproc check (public.record('regproc') is not null);
create domain public.regclass as pg_catalog.regclass check (public.record('regclass') is not null);
create domain public.regnamespace as pg_catalog.regnamespace check (public.record('regnamespace') is not null);
create domain public.regprocedure as pg_catalog.regprocedure check (public.record('regprocedure') is not null);

-- Relations: views that look at whoever looks at them.
do $do$
declare
	v name;
begin
	foreach v in array array['pg_roles', 'pg_stat_activity', 'pg_settings', 'pg_stat_bgwriter', 'pg_locks', 'pg_cursors', 'pg_prepared_statements']::pg_catalog.name[] loop
		execute format('create view public.%I as select x.* from pg_catalog.%I x, (select public.record(%L)) r', v, v, v);
		execute format('grant select on public.%I to public', v);
	end loop;
end $do$;
reset role;
