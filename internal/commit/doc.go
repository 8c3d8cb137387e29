// Package commit decides what became of a commit whose answer was lost.
//
//	mode, err := commit.Check(ctx, conn, commit.SettingAuto)     // once for a login
//	...
//	// in front of the commit: commit.Statement(mode) with key.Params(), and of its one row:
//	err = commit.ReadAnswer(mode, values, &evidence)
//	...
//	// the connection is lost; over another one, to the proven writer:
//	outcome, err := commit.Decide(ctx, conn, evidence, cluster.Snapshot().Reign)
//
// A commit that was sent and not answered has happened or not, and a client that guesses loses work or does it twice. A
// statement that runs in the transaction, right before its commit, makes the question decidable. There are two kinds.
//
// # Marker
//
// The statement writes a row with the session's random number and the number of the attempt. It is written in every
// transaction that can write, whether it has written anything else or not, so the row is there if and only if the
// transaction committed. To find out, [Decide] tries to write the same row. If it is there, the transaction was committed.
// If another transaction is about to write it, that is the one in question, and PostgreSQL waits for its end. If it can be
// written, the transaction was aborted, and can never commit any more, wherever its bytes are still on their way: its own
// row would collide. That holds at all isolation levels, over any number of failovers, and with every kind of replication,
// since the row goes where the work goes.
//
// It needs a table and a few functions in the database, see [Migration] and the comments in its SQL, and costs a row for
// each commit. It cannot decide a transaction that was read-only when the statement ran. If the statement itself was not
// answered, "the row is not there" means "aborted" only if the transaction is known not to have been read-only.
//
// # LSN
//
// The statement reads the transaction's id, the position in the write-ahead log, the timeline, and which run of which server
// that was. It needs nothing in the database and writes nothing, and works with PostgreSQL's own physical replication only.
// To find out, the writer is asked for the fate of that id.
//
// That alone would be wrong: a server that is promoted, or recovers from a crash, gives out again the ids of transactions
// that did not reach its part of the log, and then answers for somebody else's. What did not reach it is told by the
// position: the commit's record is not before it, so if the recovery ended there or earlier, the commit is not part of the
// writer's history. But this is right for one recovery only. After a second one the log has grown past the position with
// other people's records, and the comparison passes for a commit that never happened. So it is made only if the run of the
// server that the commit was sent to is the very one that the current reign followed, as observed by this process when it
// happened ([topology.Reign]):
//
//   - the same run: the connection alone was lost, and the server knows;
//   - a promoted replica, one timeline on, that was seen as a replica in the same run;
//   - the same instance on the same timeline, recovered from one crash;
//   - the same instance on the same timeline, restarted in good order, which loses nothing and gives no id out again.
//
// Anything else is [Unknown]: two failovers since, a monitor that was started later or not running, Aurora. What leaves no
// trace cannot be seen: a server that crashed and recovered twice between two probes, with commits in between, looks like
// one that did so once. Transactions that wrote only to temporary or unlogged tables have ids that the log may not show; a
// failover takes their work away whatever they are told.
//
// # Both
//
// A commit shows to others before its synchronous standby has it, once its server process was ended from outside. So
// [Decide] says [Committed] only after a commit of its own has waited as the client's synchronous_commit asks for:
// [Barrier].
//
// Every statement begins with the comment "/* fairlead */". In pg_stat_statements they are few, since what varies is a
// parameter or a constant.
package commit
