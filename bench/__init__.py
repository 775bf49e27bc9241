"""`make bench`: the service beside raw_rewrap and an empty RPC, in one run on one machine. docs/performance.md says how to read it."""
