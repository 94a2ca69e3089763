"""How events are made: context, emitter and its spool, the embedded ledger's writer, import."""
