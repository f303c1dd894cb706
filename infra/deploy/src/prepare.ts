import { requireNode24 } from "@millrace/bootstrap"
import { provision } from "@millrace/infra-nats"
import { Cause, Effect, Exit } from "effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { type Account, prepareCell, unprivileged } from "./cell-folder.ts"

requireNode24()

const help = `npm run deploy:prepare -- [options]

Makes everything that a cell's containers are given: keys, the owner's token, the log's
configuration, the database's roles, folders, and the manifests beside them. What is there stays.

  --folder PATH     where all of it goes (.millrace/deploy)
  --user UID:GID    the account that containers run as (this user's; for root ${unprivileged.uid}:${unprivileged.gid})
  --provision       also makes the streams of a log that runs, waiting up to a minute for it
  --nats URL        where --provision finds that log (nats://127.0.0.1:4222)
  --help            this text
`

const wrong = (sentence: string): never => {
  process.stderr.write(`${sentence}\n`)
  process.exit(64)
}

const options = () => {
  try {
    return parseArgs({
      options: {
        folder: { type: "string", default: ".millrace/deploy" },
        user: { type: "string" },
        provision: { type: "boolean", default: false },
        nats: { type: "string", default: "nats://127.0.0.1:4222" },
        help: { type: "boolean", default: false }
      }
    }).values
  } catch (cause) {
    return wrong(`${cause instanceof Error ? cause.message : String(cause)}\n\n${help}`)
  }
}

const accountOf = (text: string | undefined): Account => {
  if (text === undefined) {
    const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0]
    return uid === 0 ? unprivileged : { uid, gid }
  }
  const [, uid, gid] = /^([1-9][0-9]{0,8}):([1-9][0-9]{0,8})$/u.exec(text) ?? wrong(`--user is ${JSON.stringify(text)}; it wants two numbers above 0, such as 10001:10001`)
  return { uid: Number(uid), gid: Number(gid) }
}

const values = options()
if (values.help) {
  process.stdout.write(help)
  process.exit(0)
}

const main = Effect.gen(function*() {
  const cell = yield* prepareCell({ folder: values.folder, account: accountOf(values.user) })
  process.stdout.write(`The cell's folder   ${cell.folder}\nthe owner's token   ${cell.tokenFile}\n`)
  if (!values.provision) return
  yield* provision({ servers: values.nats.split(","), creds: readFileSync(join(cell.credentials, "provisioner.creds"), "utf8") })
  process.stdout.write(`the streams         ${values.nats}\n`)
})

Effect.runFork(main).addObserver((exit) => {
  if (Exit.isSuccess(exit)) process.exit(0)
  const error = Cause.squash(exit.cause)
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
})
