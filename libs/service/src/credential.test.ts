import { assert, describe, it } from "@effect/vitest"
import { looksLikeCredential, withoutCredentials } from "./credential.ts"

// Put together here, so that no scanner takes this file for a leak.
const letters = "aB3dE5gH7jK9mN1pQ2sT4vW6xY8zA0cD".repeat(4)
const credentials: ReadonlyArray<readonly [kind: string, text: string]> = [
  ["Millrace token", "mill_" + letters.slice(0, 43)],
  ["webhook secret", "whsec_" + letters.slice(0, 43) + "="],
  ["AWS access key", "AKIA" + "IOSFODNN7EXAMPLE"],
  ["GitHub token", "ghp_" + letters.slice(0, 36)],
  ["GitHub token", "github_pat_" + letters.slice(0, 60)],
  ["GitLab token", "glpat-" + letters.slice(0, 20)],
  ["Anthropic key", "sk-ant-" + "api03-" + letters.slice(0, 80)],
  ["OpenAI key", "sk-proj-" + letters.slice(0, 48)],
  ["OpenAI key", "sk-" + letters.slice(0, 48)],
  ["Slack token", "xoxb-" + "123456789012-" + letters.slice(0, 24)],
  ["Google key", "AIza" + letters.slice(0, 35)],
  ["Stripe key", "sk_" + "live_" + letters.slice(0, 24)],
  ["Hugging Face token", "hf_" + letters.slice(0, 34)],
  ["npm token", "npm_" + letters.slice(0, 36)],
  ["NATS seed", "SU" + "A".repeat(28) + "QWERTZ".repeat(4) + "2345"],
  ["JSON web token", "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0" + "." + letters.slice(0, 43)],
  ["bearer token", "Authorization: Bearer " + letters.slice(0, 32)],
  ["private key", "-----BEGIN " + "OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----"],
  ["private key", "-----BEGIN " + "PRIVATE KEY-----\ncut off"],
  ["password in an address", "postgres://mill:" + "s3same@db.internal:5432/mill"],
  ["password", "password=" + "correct-horse-battery"],
  ["password", `{"db_password": "` + `Tr0ub4dor&3"}`],
  ["password", "--password='" + "two words; & more'"],
  ["password", JSON.stringify(JSON.stringify({ password: "correct-" + "horse-battery" }))],
  ["secret", "API_KEY=" + letters.slice(0, 24)],
  ["secret", "client_secret: " + letters.slice(0, 32)]
]

const innocent: ReadonlyArray<string> = [
  "",
  "The job job_01K9ZZZZZZZZZZZZZZZZZZZZZZ was placed on hst_01K9ZZZZZZZZZZZZZZZZZZZZZZ",
  `sha256:${"0123456789abcdef".repeat(4)}`,
  "postgres://mill@db.internal:5432/mill",
  "http://127.0.0.1:8080/readyz",
  "mill.machine.lambda.lse_01K9ZZZZZZZZZZZZZZZZZZZZZZ",
  "password=",
  "password=$DB_PASSWORD",
  "--token ${MILL_TOKEN_OF_THE_CELL_01}",
  "password=<your-password>",
  "password: ********",
  "token: none",
  "secretName=my-own-credentials",
  "max_tokens: 20000000000000000",
  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  "task-runner-for-the-longest-name-anybody-has-ever-given-1",
  "a sentence about passwords, secrets and tokens; not one of them is here"
]

describe("what looks like a credential", () => {
  for (const [kind, text] of credentials) {
    it(`a ${kind}: ${text.slice(0, 14)}...`, () => {
      for (const around of [text, `before ${text}`, `FOO=1\n${text}\nBAR=2`]) {
        assert.strictEqual(looksLikeCredential(around), kind)
        const masked = withoutCredentials(around)
        assert.include(masked, `<${kind} masked>`)
        assert.isUndefined(looksLikeCredential(masked), masked)
      }
      assert.strictEqual(withoutCredentials(`FOO=1 ${text}\n`).startsWith("FOO=1 "), true)
    })
  }

  it("and what does not, stays as it is", () => {
    for (const text of innocent) {
      assert.isUndefined(looksLikeCredential(text), text)
      assert.strictEqual(withoutCredentials(text), text)
    }
  })

  it("is found in time that grows with the text and not faster", () => {
    const hostile = ["password=".repeat(40_000), "a://".repeat(80_000), "-----BEGIN ".repeat(30_000), "eyJaaaaaaaa.".repeat(30_000), "Bearer ".repeat(50_000), "A".repeat(400_000)]
    for (const text of hostile) {
      const half = spent(text.slice(0, text.length / 2))
      const whole = spent(text)
      // A quadratic search would take seconds for these; linear ones take milliseconds.
      assert.isBelow(whole, 20 * half + 200, text.slice(0, 12))
    }
  })
})

const spent = (text: string): number => {
  const from = process.cpuUsage()
  withoutCredentials(text)
  const { system, user } = process.cpuUsage(from)
  return (user + system) / 1e3
}
