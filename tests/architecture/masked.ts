/** A source text with its comments gone and its strings set aside: what is left is what the program does. */
export interface Masked {
  /** Every string stands as `"<its number>"`; lines are where they were. */
  readonly code: string
  readonly strings: ReadonlyArray<string>
}

/** A slash behind one of these begins a regular expression, behind anything else it divides. */
const beforeRegExp = /(?:^|[(,=:[!&|?{};+\-*%<>~^]|=>|\b(?:return|typeof|case|in|of|do|else|void|delete|throw|await|yield))\s*$/u

/** Reads once from left to right. It knows strings, templates, comments and regular expressions, and nothing else. */
export const masked = (text: string): Masked => {
  const strings: Array<string> = []
  let code = ""
  let at = 0
  /** For each template that is open, how many braces are open within its expression. */
  const templates: Array<number> = []

  const setAside = (value: string): void => {
    code += `"${strings.push(value) - 1}"${"\n".repeat(value.split("\n").length - 1)}`
  }
  const skipTo = (end: number): void => {
    code += text.slice(at, end).replace(/[^\n]/gu, " ")
    at = end
  }
  const quoted = (quote: string): void => {
    let end = at + 1
    while (end < text.length && text[end] !== quote && text[end] !== "\n") end += text[end] === "\\" ? 2 : 1
    setAside(text.slice(at + 1, end))
    at = end + 1
  }
  /** From behind a backtick or a closing brace up to the next expression or the end. */
  const template = (): void => {
    let end = at
    while (end < text.length && text[end] !== "`" && !(text[end] === "$" && text[end + 1] === "{")) end += text[end] === "\\" ? 2 : 1
    setAside(text.slice(at, end))
    if (text[end] === "$") {
      templates.push(0)
      code += "+("
      at = end + 2
    } else at = end + 1
  }
  const regExp = (): void => {
    let end = at + 1
    let inClass = false
    while (end < text.length && text[end] !== "\n" && (inClass || text[end] !== "/")) {
      if (text[end] === "[") inClass = true
      else if (text[end] === "]") inClass = false
      end += text[end] === "\\" ? 2 : 1
    }
    setAside(text.slice(at + 1, end))
    at = end + 1
  }

  while (at < text.length) {
    const here = text[at]!
    if (here === "/" && text[at + 1] === "/") skipTo(endOf(text, "\n", at, 0))
    else if (here === "/" && text[at + 1] === "*") skipTo(endOf(text, "*/", at + 2, 2))
    else if (here === "\"" || here === "'") quoted(here)
    else if (here === "`") {
      at += 1
      template()
    } else if (here === "/" && beforeRegExp.test(code.slice(-40))) regExp()
    else if (here === "}" && templates.at(-1) === 0) {
      templates.pop()
      code += ")+"
      at += 1
      template()
    } else {
      if (here === "{" && templates.length > 0) templates[templates.length - 1]! += 1
      if (here === "}" && templates.length > 0) templates[templates.length - 1]! -= 1
      code += here
      at += 1
    }
  }
  return { code, strings }
}

const endOf = (text: string, what: string, from: number, length: number): number => {
  const found = text.indexOf(what, from)
  return found < 0 ? text.length : found + length
}
