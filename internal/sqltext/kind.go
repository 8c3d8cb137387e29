package sqltext

// Kind is what a statement is, as far as its first words tell.
type Kind uint8

// The kinds. Unknown is everything that is none of the others, text that cannot be read included.
const (
	Unknown Kind = iota
	Empty        // nothing but white space, comments and semicolons
	Select       // SELECT, in parentheses or not
	SelectInto
	Values
	Table
	With // whatever follows the common table expressions
	Show
	Explain
	Insert
	Update
	Delete
	Merge
	Begin // BEGIN and START TRANSACTION
	Commit
	CommitChain // COMMIT AND CHAIN: another transaction begins
	Rollback
	RollbackChain
	RollbackTo
	Savepoint
	Release
	PrepareTransaction
	CommitPrepared
	RollbackPrepared
	Set
	SetLocal
	SetTransaction     // of the open transaction, also as SET transaction_isolation
	SetCharacteristics // SET SESSION CHARACTERISTICS
	SetConstraints
	Reset
	Discard
	Prepare
	Execute
	Deallocate
	Declare
	Fetch
	Move
	CloseCursor
	Listen
	Unlisten
	Notify
	Copy
	Lock
	Call
	Do
	Load
	Vacuum
	Analyze
	Cluster
	Reindex
	Checkpoint
	Truncate
	CreateTemp  // CREATE TEMPORARY, SELECT INTO TEMPORARY, or CREATE of anything in pg_temp
	DDL         // CREATE, ALTER, DROP, GRANT, COMMENT and their like
	DDLNoBlock  // those that no transaction block may hold: CREATE DATABASE, CREATE INDEX CONCURRENTLY, ALTER SYSTEM
	Replication // a command of the replication protocol
)

var kindNames = [...]string{
	Unknown: "Unknown", Empty: "Empty", Select: "Select", SelectInto: "SelectInto", Values: "Values", Table: "Table",
	With: "With", Show: "Show", Explain: "Explain", Insert: "Insert", Update: "Update", Delete: "Delete",
	Merge: "Merge", Begin: "Begin", Commit: "Commit", CommitChain: "CommitChain", Rollback: "Rollback",
	RollbackChain: "RollbackChain", RollbackTo: "RollbackTo", Savepoint: "Savepoint", Release: "Release",
	PrepareTransaction: "PrepareTransaction", CommitPrepared: "CommitPrepared", RollbackPrepared: "RollbackPrepared",
	Set: "Set", SetLocal: "SetLocal", SetTransaction: "SetTransaction", SetCharacteristics: "SetCharacteristics",
	SetConstraints: "SetConstraints", Reset: "Reset", Discard: "Discard", Prepare: "Prepare", Execute: "Execute",
	Deallocate: "Deallocate", Declare: "Declare", Fetch: "Fetch", Move: "Move", CloseCursor: "CloseCursor",
	Listen: "Listen", Unlisten: "Unlisten", Notify: "Notify", Copy: "Copy", Lock: "Lock", Call: "Call", Do: "Do",
	Load: "Load", Vacuum: "Vacuum", Analyze: "Analyze", Cluster: "Cluster", Reindex: "Reindex",
	Checkpoint: "Checkpoint", Truncate: "Truncate", CreateTemp: "CreateTemp", DDL: "DDL", DDLNoBlock: "DDLNoBlock",
	Replication: "Replication",
}

// String is the constant's name.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "Unknown"
}
