import { runPort } from "./port-process.ts"

const [, , settings, ...command] = process.argv
if (settings === undefined || command.length === 0) {
  console.error("port-main.ts wants a file of settings and what to run. The host's agent starts it; there is no need to")
  process.exit(2)
}
runPort(settings, command)
