import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["{schemas,libs,services,infra,tools,tests}/**/*.test.ts"],
    exclude: ["**/node_modules/**", ".millrace/**"],
    // Patience, not a measure: a busy machine is no failure.
    testTimeout: 120_000,
    hookTimeout: 180_000,
    // Two cores: servers of the tests need one of them.
    maxWorkers: 2
  }
})
