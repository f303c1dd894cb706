export { PostgresUnavailable } from "./postgres-unavailable.ts"
export { startPostgres } from "./server.ts"
export type { PostgresOptions, PostgresServer } from "./server.ts"
export { testDatabase } from "./test-database.ts"
