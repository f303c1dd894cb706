import { KeeperProcess } from "./keeper-process.ts"

const [, , folder] = process.argv
if (folder === undefined) {
  console.error("keeper-main.ts wants the folder that it keeps its socket in. The host's agent starts it; there is no need to")
  process.exit(2)
}
const keeper = new KeeperProcess(folder)
for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(name, () => void keeper.end())
await keeper.open()
