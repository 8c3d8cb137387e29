// Package soak runs a pooler in a process of its own under honest clients and attackers at once, and reports what the honest
// clients saw and what the pooler's process cost.
//
// An honest client checks every answer: its own settings, prepared statements, large values, transactions. An attacker sends
// what a broken or hostile client sends: malformed messages, half messages, endless pipelines whose answers it does not read,
// transactions that it leaves. Each kind of attack is one entry of a table; see Attacks.
//
//	make soak ARGS="-duration 10m"
package soak
