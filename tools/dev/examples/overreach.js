// Tries what it may not: first the network, then, over the local socket, more than its grant gives.
const http = require("node:http")
const net = require("node:net")

const ask = (method, path, body) => new Promise((resolve) => {
  const text = body === undefined ? "" : JSON.stringify(body)
  const request = http.request({
    socketPath: process.env.MILLRACE_SOCKET,
    method,
    path,
    headers: { "content-type": "application/json", "content-length": Buffer.byteLength(text), "idempotency-key": `${process.env.MILLRACE_ATTEMPT}-${path.replaceAll(/[^a-z]/g, "-")}-${text.length}` }
  }, (response) => {
    let said = ""
    response.on("data", (chunk) => { said += chunk })
    response.on("end", () => resolve({ status: response.statusCode, said: said === "" ? {} : JSON.parse(said) }))
  })
  request.setTimeout(20_000, () => request.destroy(new Error("no answer within 20 s")))
  request.on("error", (error) => resolve({ status: 0, said: { what: error.message } }))
  request.end(text)
})

const connect = (host, port) => new Promise((resolve) => {
  const socket = net.connect({ host, port })
  socket.setTimeout(3_000, () => socket.destroy(new Error("no answer")))
  socket.on("connect", () => { socket.destroy(); resolve("connected") })
  socket.on("error", (error) => resolve(error.code ?? error.message))
})

const job = ({ resources, ...more }) => ({
  runtime: "sandbox",
  trust: "others",
  argv: ["true"],
  runMsMax: 10_000,
  resources: { cpuMilli: 500, memoryMib: 64, ...resources },
  ...more
})

const tell = (what, { said, status }) => {
  const missing = said.missing === undefined ? "" : ` [missing: ${said.missing.action}, ${said.missing.limit ?? said.missing.resource}]`
  console.log(`${what}: ${status} ${said.code ?? ""}: ${said.what ?? ""}${missing}`)
  return status
}

const main = async () => {
  const [parent, workspace] = process.argv.slice(2)
  console.log(`a connection to 1.1.1.1:443: ${await connect("1.1.1.1", 443)}`)
  const answers = [
    tell("a network", await ask("POST", "/v1/jobs", job({ egress: ["example.com:443"] }))),
    tell("a GPU", await ask("POST", "/v1/jobs", job({ resources: { gpus: 1 } }))),
    tell("more money than the grant", await ask("POST", "/v1/jobs", job({ runMsMax: 360_000_000 }))),
    tell("a grandchild with more rights than its own", await ask("POST", `/v1/grants/${parent}/delegate`, {
      holder: "agent:grandchild",
      reason: "a larger machine would be faster",
      reach: {
        actions: ["job.submit"],
        resources: [`workspace/${workspace}/*`],
        constraints: { cpuMilliMax: 64_000, memoryMibMax: 262_144, gpusMax: 8 },
        notBeforeMs: 0,
        expiresAtMs: Date.now() + 60_000,
        depthMax: 0
      }
    }))
  ]
  process.exit(answers.every((status) => status >= 400 && status < 500) ? 0 : 1)
}

void main()
