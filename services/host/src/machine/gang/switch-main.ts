import { SwitchProcess } from "./switch-process.ts"

const [, , folder] = process.argv
if (folder === undefined) {
  console.error("switch-main.ts wants the folder that it keeps its socket in. The host's agent starts it; there is no need to")
  process.exit(2)
}
process.chdir(folder)
const carrier = new SwitchProcess()
for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(name, () => carrier.end())
await carrier.open()
