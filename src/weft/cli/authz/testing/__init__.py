"""`weft authz test`: SpiceDB's and OpenFGA's test files, read strictly and run in memory."""
