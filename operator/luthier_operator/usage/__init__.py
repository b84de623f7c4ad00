"""What runs have used: measured, kept in a ledger, shown as counters (docs/adr/0034)."""
