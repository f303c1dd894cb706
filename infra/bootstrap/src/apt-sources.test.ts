import { assert, describe, it } from "vitest"
import { distributionArchive, parseDeb822, parseOneLine } from "./index.mjs"

const keyring = { path: "/usr/share/keyrings/archive.gpg" }

describe("a machine's package sources", () => {
  it("are read in the one-line format", () => {
    const text = [
      "# deb http://commented.example/debian bookworm main",
      "deb [arch=amd64 signed-by=/usr/share/keyrings/archive.gpg] http://mirror.example/debian bookworm main contrib # ours",
      "deb-src http://mirror.example/debian bookworm main",
      "deb [trusted=yes] file:/srv/packages ./"
    ].join("\n")
    assert.deepStrictEqual(parseOneLine(text), [
      { uri: "http://mirror.example/debian", suite: "bookworm", components: ["main", "contrib"], signedBy: keyring, trusted: false },
      { uri: "file:/srv/packages", suite: "./", components: [], signedBy: undefined, trusted: true }
    ])
  })

  it("are read in the deb822 format, with several suites and fields over several lines", () => {
    const text = `# written by the installer
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/archive.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
`
    assert.deepStrictEqual(parseDeb822(text), [
      { uri: "http://mirror.example/debian", suite: "bookworm", components: ["main"], signedBy: keyring, trusted: false },
      { uri: "http://mirror.example/debian", suite: "bookworm-updates", components: ["main"], signedBy: keyring, trusted: false }
    ])
  })

  it("may carry the key itself, where a lone dot is an empty line", () => {
    const [source] = parseDeb822(`Types: deb
URIs: http://mirror.example/debian
Suites: sid
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----
`)
    assert.deepStrictEqual(source?.signedBy, { block: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBF\n-----END PGP PUBLIC KEY BLOCK-----\n" })
  })

  it("name the distribution's own archive, and not the extras beside it", () => {
    const sources = parseOneLine(`deb https://tools.example/apt stable extra
deb cdrom:[Debian 12]/ bookworm main
deb http://mirror.example/debian-security bookworm-security main
deb http://mirror.example/debian bookworm main`)
    assert.strictEqual(distributionArchive(sources, "bookworm")?.uri, "http://mirror.example/debian")
    assert.strictEqual(distributionArchive(sources, "")?.uri, "http://mirror.example/debian")
    assert.isUndefined(distributionArchive(sources.slice(0, 2), "bookworm"))
  })
})
