/**
 * Reads the package sources of a Debian-like machine, in both of its formats, as sources.list(5)
 * describes them. Pure.
 *
 * @typedef {object} Source one archive a machine takes packages from
 * @property {string} uri
 * @property {string} suite
 * @property {readonly string[]} components
 * @property {{ path: string } | { block: string } | undefined} signedBy the keyring, or the key itself
 * @property {boolean} trusted whether whoever runs this machine takes its packages without a signature
 */

/**
 * Sources of the one-line format: `deb [signed-by=/k.gpg] http://host/debian bookworm main`.
 * @param {string} text
 * @returns {Source[]}
 */
export const parseOneLine = (text) =>
  text.split("\n").flatMap((line) => {
    const found = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)/.exec(line)
    if (found === null) return []
    const [, options = "", uri = "", suite = "", components = ""] = found
    const keyring = /(?:^|\s)signed-by=(\S+)/.exec(options)?.[1]
    return [{ uri, suite, components: words(components), signedBy: keyring === undefined ? undefined : { path: keyring }, trusted: /(?:^|\s)trusted=yes(?:\s|$)/.test(options) }]
  })

/**
 * Sources of the deb822 format: paragraphs of fields, where a field may go on over indented lines. A
 * paragraph may name several archives and suites; one that says `Enabled: no` names none.
 * @param {string} text
 * @returns {Source[]}
 */
export const parseDeb822 = (text) =>
  text.split(/\n[ \t]*\n/).flatMap((paragraph) => {
    const fields = fieldsOf(paragraph)
    if (!words(fields.get("types")).includes("deb") || /^(no|false|off|0)$/i.test(fields.get("enabled") ?? "")) return []
    const components = words(fields.get("components"))
    const signedBy = keyOf(fields.get("signed-by"))
    const trusted = fields.get("trusted")?.trim() === "yes"
    return words(fields.get("uris")).flatMap((uri) => words(fields.get("suites")).map((suite) => ({ uri, suite, components, signedBy, trusted })))
  })

/**
 * The archive of the distribution itself among a machine's sources: it holds `main`, and its suite is
 * the machine's own release, or, where no source names that, a suite without a suffix such as
 * `-updates`.
 * @param {readonly Source[]} sources
 * @param {string} codename of the machine's release; may be empty
 * @returns {Source | undefined}
 */
export const distributionArchive = (sources, codename) => {
  const whole = sources.filter((source) => source.components.includes("main") && !source.uri.startsWith("cdrom:"))
  return whole.find((source) => source.suite === codename) ?? whole.find((source) => /^[a-z]+$/.test(source.suite))
}

/** @param {string} paragraph @returns {Map<string, string>} */
const fieldsOf = (paragraph) => {
  /** @type {Map<string, string>} */
  const fields = new Map()
  let name = ""
  for (const line of paragraph.split("\n")) {
    if (line.startsWith("#")) continue
    const found = /^([A-Za-z0-9-]+):\s*(.*)$/.exec(line)
    if (found) {
      name = (found[1] ?? "").toLowerCase()
      fields.set(name, found[2] ?? "")
    } else if (/^\s/.test(line) && name !== "") {
      // A lone dot stands for an empty line, as in an armoured key.
      fields.set(name, `${fields.get(name)}\n${line.trim() === "." ? "" : line.trim()}`)
    }
  }
  return fields
}

/** @param {string | undefined} text */
const words = (text) => (text ?? "").split(/\s+/).filter((word) => word !== "")

/** @param {string | undefined} text @returns {Source["signedBy"]} */
const keyOf = (text) => {
  const key = text?.trim() ?? ""
  if (key === "") return undefined
  return key.includes("BEGIN PGP") ? { block: `${key}\n` } : { path: words(key)[0] ?? "" }
}
