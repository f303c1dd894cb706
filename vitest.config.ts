import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["{schemas,libs,services,infra,tools,tests}/**/*.test.ts"],
    exclude: ["**/node_modules/**", ".millrace/**"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Two cores: servers of the tests need one of them.
    maxWorkers: 2
  }
})
